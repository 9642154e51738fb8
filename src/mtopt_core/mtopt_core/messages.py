"""Conversions between the core types and messages.

The functions `..._from_message` only read attributes: they take rclpy's messages as well as rosbags'. The functions
`..._to_message` make rosbags' objects, for bags written without ROS; `mtopt_node.conversions` has the same for rclpy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mtopt_core.episode import Action, EpisodeInfo, Observation, Outcome, Source, Termination, Verdict
from mtopt_core.message_types import (
    ACTION,
    COMPRESSED_IMAGE,
    EPISODE_INFO,
    OBSERVATION,
    TASK_OUTCOMES,
    Message,
    typestore,
)

PHASE_START, PHASE_END = 0, 1
BASE_FRAME = 'base'
SECOND = 10**9


def stamp_of(time: Message) -> int:
    """Return a `builtin_interfaces/Time` as ns."""
    return time.sec * SECOND + time.nanosec


def observation_from_message(message: Message, images: Mapping[str, bytes]) -> Observation:
    """Return an observation from its message and the JPEGs of its cameras.

    Raises:
        ValueError: The joint positions or the tip are not finite.
    """
    position = message.tip.position
    observation = Observation(
        stamp=stamp_of(message.header.stamp),
        images=dict(images),
        joint_positions=np.array(message.joint_positions, np.float64),
        tip_position=np.array([position.x, position.y, position.z]),
        yaw=float(message.yaw),
        gripper_closed=bool(message.gripper_closed),
        gripper_width=float(message.gripper_width),
        height_to_bottom=float(message.height_to_bottom),
    )
    numbers = *observation.joint_positions.tolist(), position.x, position.y, position.z
    scalars = observation.yaw, observation.gripper_width, observation.height_to_bottom
    if not all(map(math.isfinite, numbers + scalars)):
        raise ValueError(f'the observation at {observation.stamp} ns is not finite')
    return observation


def action_from_message(message: Message) -> Action:
    """Return an action from its message.

    Raises:
        ValueError: The displacement or the turn is not finite, or the source unknown.
    """
    displacement = np.array(message.displacement, np.float64)
    if not all(map(math.isfinite, (*displacement.tolist(), message.yaw_change))):
        raise ValueError(
            f'the action of step {message.step} is not finite: '
            f'displacement {displacement.tolist()} m, yaw change {message.yaw_change} rad'
        )
    return Action(
        displacement=displacement,
        yaw_change=float(message.yaw_change),
        close_gripper=bool(message.close_gripper),
        open_gripper=bool(message.open_gripper),
        terminate=bool(message.terminate),
        source=Source(message.source),
        q_value=float(message.q_value),
    )


def episode_info_from_message(message: Message) -> EpisodeInfo:
    """Return what an episode is from its message.

    Raises:
        ValueError: The termination is unknown.
    """
    return EpisodeInfo(
        episode_id=message.episode_id,
        robot=message.robot,
        task=message.task,
        skill=message.skill,
        policy=message.policy,
        model_version=message.model_version,
        previous_episode_id=message.previous_episode_id,
        seed=int(message.seed),
        scene_seed=int(message.scene_seed),
        simulated=bool(message.simulated),
        steps=int(message.steps),
        termination=Termination(message.termination),
        message=message.message,
        configuration=message.configuration,
        stamp=stamp_of(message.header.stamp),
    )


def outcomes_from_message(message: Message) -> list[Outcome]:
    """Return the outcomes of one grading from its message.

    Raises:
        ValueError: A verdict is unknown.
    """
    return [
        Outcome(task=outcome.task, verdict=Verdict(outcome.verdict), probability=float(outcome.probability))
        for outcome in message.outcomes
    ]


class MessageMaker:
    """Makes messages from the core's types, in the objects of whichever library sends or writes them.

    Args:
        new: Makes a message from the name of its type and its fields, of which lists of numbers are numpy's arrays.
    """

    def __init__(self, new: Callable[..., Message]) -> None:
        self._new = new

    def time(self, stamp: int) -> Message:
        """Return a `builtin_interfaces/Time` of ns."""
        return self._new('builtin_interfaces/msg/Time', sec=stamp // SECOND, nanosec=stamp % SECOND)

    def header(self, stamp: int, frame_id: str = BASE_FRAME) -> Message:
        """Return a header with a stamp in ns."""
        return self._new('std_msgs/msg/Header', stamp=self.time(stamp), frame_id=frame_id)

    def image(self, camera: str, stamp: int, jpeg: bytes) -> Message:
        """Return a JPEG as a `sensor_msgs/CompressedImage` in the camera's frame; `stamp` in ns."""
        data = np.frombuffer(jpeg, np.uint8)
        return self._new(COMPRESSED_IMAGE, header=self.header(stamp, camera), format='jpeg', data=data)

    def observation(
        self, observation: Observation, image_stamps: Mapping[str, int], joint_names: Iterable[str]
    ) -> Message:
        """Return the observation's message; the images travel on topics of their own.

        Args:
            observation: What was observed; the gripper points straight down.
            image_stamps: Exposure time of each camera's image, ns.
            joint_names: Names of the arm's joints, base to tip.
        """
        x, y, z = map(float, observation.tip_position)
        half = observation.yaw / 2
        # Pointing down is a half turn about x; the yaw turns about the vertical after it.
        down = self._new('geometry_msgs/msg/Quaternion', x=math.cos(half), y=math.sin(half), z=0.0, w=0.0)
        position = self._new('geometry_msgs/msg/Point', x=x, y=y, z=z)
        return self._new(
            OBSERVATION,
            header=self.header(observation.stamp),
            cameras=list(image_stamps),
            image_stamps=[self.time(stamp) for stamp in image_stamps.values()],
            joint_names=list(joint_names),
            joint_positions=np.asarray(observation.joint_positions, np.float64),
            tip=self._new('geometry_msgs/msg/Pose', position=position, orientation=down),
            yaw=float(observation.yaw),
            gripper_closed=bool(observation.gripper_closed),
            gripper_width=float(observation.gripper_width),
            height_to_bottom=float(observation.height_to_bottom),
        )

    def action(self, action: Action, stamp: int, episode_id: str, step: int) -> Message:
        """Return the action's message, stamped with the observation it was decided on (ns)."""
        return self._new(
            ACTION,
            header=self.header(stamp),
            episode_id=episode_id,
            step=step,
            displacement=np.asarray(action.displacement, np.float32),
            yaw_change=float(action.yaw_change),
            close_gripper=bool(action.close_gripper),
            open_gripper=bool(action.open_gripper),
            terminate=bool(action.terminate),
            source=int(action.source),
            q_value=float(action.q_value),
        )

    def episode_info(self, info: EpisodeInfo, phase: int, stamp: int) -> Message:
        """Return the episode's message for a phase (`PHASE_START` or `PHASE_END`), published at `stamp` (ns)."""
        return self._new(
            EPISODE_INFO,
            header=self.header(stamp, ''),
            phase=phase,
            episode_id=info.episode_id,
            robot=info.robot,
            task=info.task,
            skill=info.skill,
            policy=info.policy,
            model_version=info.model_version,
            previous_episode_id=info.previous_episode_id,
            seed=info.seed,
            scene_seed=info.scene_seed,
            simulated=info.simulated,
            steps=info.steps,
            termination=int(info.termination),
            message=info.message,
            configuration=info.configuration,
        )

    def outcomes(
        self, outcomes: Iterable[Outcome], stamp: int, episode_id: str, source: str, model_version: str = ''
    ) -> Message:
        """Return one grading's message, made at `stamp` (ns)."""
        return self._new(
            TASK_OUTCOMES,
            header=self.header(stamp, ''),
            episode_id=episode_id,
            source=source,
            model_version=model_version,
            outcomes=[
                self._new(
                    'mtopt_msgs/msg/TaskOutcome',
                    task=outcome.task,
                    verdict=int(outcome.verdict),
                    probability=float(outcome.probability),
                )
                for outcome in outcomes
            ],
        )


def _of_rosbags(type_name: str, **fields: Any) -> Message:
    return typestore().types[type_name](**fields)


_MAKER = MessageMaker(_of_rosbags)
image_to_message = _MAKER.image
action_to_message = _MAKER.action
episode_info_to_message = _MAKER.episode_info
outcomes_to_message = _MAKER.outcomes


def observation_to_message(observation: Observation) -> Message:
    """Return the observation's message; every image has the observation's stamp and a topic of its own."""
    names = [f'joint{number}' for number in range(1, len(observation.joint_positions) + 1)]
    return _MAKER.observation(observation, dict.fromkeys(observation.images, observation.stamp), names)

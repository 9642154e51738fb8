"""Conversions between the core types and messages.

The functions `..._from_message` only read attributes: they take rclpy's messages as well as rosbags'. The way to a
message makes rosbags' objects, for bags written without ROS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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


def _new(type_name: str, **fields: Any) -> Message:
    return typestore().types[type_name](**fields)


def _time(stamp: int) -> Message:
    return _new('builtin_interfaces/msg/Time', sec=stamp // SECOND, nanosec=stamp % SECOND)


def _header(stamp: int, frame_id: str) -> Message:
    return _new('std_msgs/msg/Header', stamp=_time(stamp), frame_id=frame_id)


def image_to_message(camera: str, stamp: int, jpeg: bytes) -> Message:
    """Return a JPEG as a `sensor_msgs/CompressedImage` in the camera's frame; `stamp` in ns."""
    return _new(COMPRESSED_IMAGE, header=_header(stamp, camera), format='jpeg', data=np.frombuffer(jpeg, np.uint8))


def observation_to_message(observation: Observation) -> Message:
    """Return the observation's message; every image has the observation's stamp and a topic of its own."""
    x, y, z = map(float, observation.tip_position)
    # The gripper points down: a half turn about x, then the yaw about the vertical.
    down = _new(
        'geometry_msgs/msg/Quaternion',
        x=math.cos(observation.yaw / 2),
        y=math.sin(observation.yaw / 2),
        z=0.0,
        w=0.0,
    )
    return _new(
        OBSERVATION,
        header=_header(observation.stamp, BASE_FRAME),
        cameras=list(observation.images),
        image_stamps=[_time(observation.stamp)] * len(observation.images),
        joint_names=[f'joint{number}' for number in range(1, len(observation.joint_positions) + 1)],
        joint_positions=np.asarray(observation.joint_positions, np.float64),
        tip=_new('geometry_msgs/msg/Pose', position=_new('geometry_msgs/msg/Point', x=x, y=y, z=z), orientation=down),
        yaw=observation.yaw,
        gripper_closed=observation.gripper_closed,
        gripper_width=observation.gripper_width,
        height_to_bottom=observation.height_to_bottom,
    )


def action_to_message(action: Action, stamp: int, episode_id: str, step: int) -> Message:
    """Return the action's message, stamped with the observation it was decided on (ns)."""
    return _new(
        ACTION,
        header=_header(stamp, BASE_FRAME),
        episode_id=episode_id,
        step=step,
        displacement=np.asarray(action.displacement, np.float32),
        yaw_change=action.yaw_change,
        close_gripper=action.close_gripper,
        open_gripper=action.open_gripper,
        terminate=action.terminate,
        source=int(action.source),
        q_value=action.q_value,
    )


def episode_info_to_message(info: EpisodeInfo, phase: int, stamp: int) -> Message:
    """Return the episode's message for a phase (`PHASE_START` or `PHASE_END`), published at `stamp` (ns)."""
    return _new(
        EPISODE_INFO,
        header=_header(stamp, ''),
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


def outcomes_to_message(
    outcomes: Iterable[Outcome], stamp: int, episode_id: str, source: str, model_version: str = ''
) -> Message:
    """Return one grading's message, made at `stamp` (ns)."""
    return _new(
        TASK_OUTCOMES,
        header=_header(stamp, ''),
        episode_id=episode_id,
        source=source,
        model_version=model_version,
        outcomes=[
            _new(
                'mtopt_msgs/msg/TaskOutcome',
                task=outcome.task,
                verdict=int(outcome.verdict),
                probability=outcome.probability,
            )
            for outcome in outcomes
        ],
    )

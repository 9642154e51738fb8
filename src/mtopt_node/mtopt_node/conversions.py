"""From the core's types to ROS messages; the way back is duck-typed and lives in `mtopt_core.messages`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mtopt_core.episode import Action, EpisodeInfo, Observation, Outcome
from mtopt_core.trajectory import Trajectory
from mtopt_msgs import msg

if TYPE_CHECKING:
    # Brings torch, 130 MB and seconds, into every node that converts a message.
    from mtopt_core.checkpoint import Manifest

BASE_FRAME = 'base'
SECOND = 1_000_000_000


def time_of(stamp: int) -> Time:
    """Return a ROS time from ns."""
    return Time(sec=stamp // SECOND, nanosec=stamp % SECOND)


def stamp_of(time: Time) -> int:
    """Return ns from a ROS time."""
    return time.sec * SECOND + time.nanosec


def header(stamp: int, frame: str = BASE_FRAME) -> Header:
    """Return a header with a stamp in ns."""
    return Header(stamp=time_of(stamp), frame_id=frame)


def observation_to_message(
    observation: Observation, image_stamps: dict[str, int], joint_names: Iterable[str]
) -> msg.Observation:
    """Return the observation's message; the images travel on topics of their own.

    Args:
        observation: What was observed; the gripper points straight down.
        image_stamps: Exposure time of each camera's image, ns.
        joint_names: Names of the arm's joints, base to tip.
    """
    x, y, z = map(float, observation.tip_position)
    return msg.Observation(
        header=header(observation.stamp),
        cameras=list(image_stamps),
        image_stamps=[time_of(stamp) for stamp in image_stamps.values()],
        joint_names=list(joint_names),
        joint_positions=np.asarray(observation.joint_positions, np.float64).tolist(),
        # Pointing down is a half turn about x; the yaw turns about the vertical after it.
        tip=Pose(
            position=Point(x=x, y=y, z=z),
            orientation=Quaternion(x=math.cos(observation.yaw / 2), y=math.sin(observation.yaw / 2), z=0.0, w=0.0),
        ),
        yaw=float(observation.yaw),
        gripper_closed=bool(observation.gripper_closed),
        gripper_width=float(observation.gripper_width),
        height_to_bottom=float(observation.height_to_bottom),
    )


def action_to_message(action: Action, stamp: int, episode_id: str, step: int) -> msg.Action:
    """Return the action's message, stamped with the observation it was decided on (ns)."""
    return msg.Action(
        header=header(stamp),
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


def episode_info_to_message(info: EpisodeInfo, phase: int) -> msg.EpisodeInfo:
    """Return the episode's message for a phase (`PHASE_START` or `PHASE_END`)."""
    return msg.EpisodeInfo(
        header=header(info.stamp),
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
) -> msg.TaskOutcomes:
    """Return one grading's message."""
    return msg.TaskOutcomes(
        header=header(stamp),
        episode_id=episode_id,
        source=source,
        model_version=model_version,
        outcomes=[
            msg.TaskOutcome(task=outcome.task, verdict=int(outcome.verdict), probability=float(outcome.probability))
            for outcome in outcomes
        ],
    )


def model_version_to_message(manifest: Manifest, path: Path, stamp: int) -> msg.ModelVersion:
    """Return a checkpoint's announcement.

    Args:
        manifest: What the checkpoint says about itself.
        path: Its folder.
        stamp: Now, ns.
    """
    return msg.ModelVersion(
        header=header(stamp, ''),
        name=manifest.kind,
        version=manifest.version,
        path=str(path),
        sha256=manifest.sha256,
        tasks=list(manifest.tasks),
    )


def trajectory_to_message(trajectory: Trajectory, joint_names: Iterable[str]) -> JointTrajectory:
    """Return a joint trajectory that starts at once (stamp zero)."""
    points = []
    for time, positions, velocities in zip(trajectory.times, trajectory.positions, trajectory.velocities, strict=True):
        point = JointTrajectoryPoint(positions=positions.tolist(), velocities=velocities.tolist())
        nanoseconds = round(float(time) * SECOND)
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, SECOND)
        points.append(point)
    return JointTrajectory(joint_names=list(joint_names), points=points)


def trajectory_from_message(message: JointTrajectory) -> Trajectory:
    """Return the trajectory of a message: times `(N,)` s, positions and velocities `(N, J)`.

    Velocities left out mean rest at every point, which is what mtopt's own trajectories end with.
    """
    times = np.array([point.time_from_start.sec + point.time_from_start.nanosec / SECOND for point in message.points])
    positions = np.array([list(point.positions) for point in message.points], float)
    velocities = np.array([list(point.velocities) or [0.0] * len(point.positions) for point in message.points], float)
    return Trajectory(times=times, positions=positions, velocities=velocities)

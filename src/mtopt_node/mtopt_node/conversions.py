"""From the core's types to ROS messages, as `mtopt_core.messages` makes them, and what only nodes need beside it.

The way back is duck-typed and lives there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mtopt_core.messages import SECOND, MessageMaker
from mtopt_core.trajectory import Trajectory
from mtopt_msgs import msg

if TYPE_CHECKING:
    # Brings torch, 130 MB and seconds, into every node that converts a message.
    from mtopt_core.checkpoint import Manifest


_OURS = msg.Observation, msg.Action, msg.EpisodeInfo, msg.TaskOutcome, msg.TaskOutcomes
_CLASSES = {
    f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}': kind
    for kind in (Time, Header, Point, Quaternion, Pose, *_OURS)
}


def _of_ros(type_name: str, **fields: Any) -> Any:
    # Its setters take no arrays but those of fixed length.
    return _CLASSES[type_name](
        **{name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
    )


_MAKER = MessageMaker(_of_ros)
time_of = _MAKER.time
header = _MAKER.header
observation_to_message = _MAKER.observation
action_to_message = _MAKER.action
episode_info_to_message = _MAKER.episode_info
outcomes_to_message = _MAKER.outcomes


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

"""Pairs the trajectories of arm and gripper, which arrive on topics without a mutual order, into steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from mtopt_core.trajectory import Trajectory
from mtopt_sim.errors import SimulationError

LONGEST = 10.0
"""s; a trajectory longer than this is taken for a mistake."""


class CommandPairs:
    """The k-th trajectory of the arm since the last reset belongs to the k-th of the gripper.

    Args:
        arm_joints: Names of the arm's joints, base to tip.
        finger_joint: Name of the gripper's joint.
    """

    def __init__(self, arm_joints: Sequence[str], finger_joint: str) -> None:
        self._joints = {'arm': tuple(arm_joints), 'gripper': (finger_joint,)}
        self._waiting: dict[str, deque[Trajectory]] = {part: deque() for part in self._joints}

    def clear(self) -> None:
        """Forget what has not been carried out."""
        for waiting in self._waiting.values():
            waiting.clear()

    def add(self, part: str, names: Sequence[str], trajectory: Trajectory) -> tuple[Trajectory, Trajectory] | None:
        """Take in a trajectory of `arm` or `gripper`; return both once the other's is there.

        Raises:
            SimulationError: The joints are not the part's, or the trajectory is empty, not finite, not increasing in
                time or too long. Whatever waited is forgotten, so that nothing is paired with a rejected one.
        """
        try:
            checked = self._check(part, names, trajectory)
        except SimulationError:
            self.clear()
            raise
        self._waiting[part].append(checked)
        if not all(self._waiting.values()):
            return None
        return self._waiting['arm'].popleft(), self._waiting['gripper'].popleft()

    def _check(self, part: str, names: Sequence[str], trajectory: Trajectory) -> Trajectory:
        joints = self._joints[part]
        if sorted(names) != sorted(joints):
            raise SimulationError(
                f'a trajectory for the {part} names the joints {", ".join(names) or "none"}; '
                f'expected {", ".join(joints)}'
            )
        times, positions, velocities = trajectory.times, trajectory.positions, trajectory.velocities
        if not len(times) or positions.shape != (len(times), len(joints)) or velocities.shape != positions.shape:
            raise SimulationError(f'a trajectory for the {part} has no points, or points without all joints')
        if not all(np.isfinite(values).all() for values in (times, positions, velocities)):
            raise SimulationError(f'a trajectory for the {part} is not finite; nothing moves')
        if (np.diff(times, prepend=0.0) <= 0).any() or times[-1] > LONGEST:
            raise SimulationError(
                f'a trajectory for the {part} has times {times.tolist()} s; they must increase from above 0 to at most '
                f'{LONGEST:g} s'
            )
        order = [list(names).index(joint) for joint in joints]
        return Trajectory(times, positions[:, order], velocities[:, order])

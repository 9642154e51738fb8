"""The last gate before the arm: no command leaves that breaks a limit, whoever planned it.

The planner keeps the limits by construction; this checks its result anew, from the joint state the command starts from,
so that a mistake anywhere above costs a step and never moves the arm where it must not go.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtopt_core.configuration import CellConfiguration
from mtopt_core.errors import ActionError
from mtopt_core.kinematics import Kinematics
from mtopt_core.trajectory import Trajectory

# A real arm's reading, from which a held position is commanded, may lie a little beyond a limit.
JOINT_SLACK = 0.02  # rad
TIP_SLACK = 0.002  # m
SPEED_SLACK = 1e-3
TIME_SLACK = 1e-6  # s
SAMPLES = 25


class CommandLimits:
    """Limits on pairs of trajectories.

    Args:
        kinematics: Of the arm.
        cell: Workspace, share of the joints' speeds, length of a step.
        finger_open: Position of the open finger joint, m.
    """

    def __init__(self, kinematics: Kinematics, cell: CellConfiguration, finger_open: float) -> None:
        self._kinematics = kinematics
        self._longest = cell.step.duration
        self._lower, self._upper = np.array(cell.limits.workspace_min), np.array(cell.limits.workspace_max)
        self._speed = cell.limits.joint_speed * kinematics.limits.velocity
        self._finger_open = finger_open

    def check_start(self, positions: np.ndarray) -> None:
        """See that the arm can be where its joint state says, `(J,)` rad.

        Raises:
            ActionError: It cannot: the driver's units, order or zero positions are wrong.
        """
        self._check_joints(positions[None], 'the joint state')

    def check(self, start: np.ndarray, arm: Trajectory, gripper: Trajectory) -> None:
        """Check a pair of trajectories.

        Args:
            start: `(J,)` rad, where the arm is.
            arm: Of the arm's joints.
            gripper: Of the finger joint.

        Raises:
            ActionError: It breaks a limit; the message names which, and nothing may be sent.
        """
        for broken in self._broken(start, arm, gripper):
            raise ActionError(f'stopped before the arm: {broken}')
        self._check_joints(arm.positions, 'stopped before the arm: the trajectory')

    def _broken(self, start: np.ndarray, arm: Trajectory, gripper: Trajectory) -> Iterator[str]:
        joints = len(self._kinematics.joint_names)
        for name, one, width in (('arm', arm, joints), ('gripper', gripper, 1)):
            if not len(one.times) or one.positions.shape != (len(one.times), width):
                yield f"the {name}'s trajectory has no points, or not one position for each joint"
            if not all(np.isfinite(values).all() for values in (one.times, one.positions, one.velocities)):
                yield f"the {name}'s trajectory is not finite"
            if (np.diff(one.times, prepend=0.0) <= 0).any():
                yield f"the {name}'s times {one.times.tolist()} s do not increase"
            if one.velocities[-1].any():
                yield f"the {name}'s trajectory does not end at rest"
        if abs(arm.duration - gripper.duration) > TIME_SLACK or arm.duration > self._longest + TIME_SLACK:
            yield (
                f'the trajectories last {arm.duration:g} and {gripper.duration:g} s; they must be equally long, '
                f'at most a step, {self._longest:g} s'
            )
        if gripper.positions.min() < 0 or gripper.positions.max() > self._finger_open:
            yield f'the fingers would go to {gripper.positions.ravel().tolist()} m, beyond 0 to {self._finger_open:g} m'
        _, speeds = arm.sample(start, np.linspace(0.0, arm.duration, SAMPLES))
        worst = int(np.argmax(np.abs(speeds).max(axis=0) / self._speed))
        fastest = float(np.abs(speeds[:, worst]).max())
        if fastest > self._speed[worst] * (1 + SPEED_SLACK):
            yield (
                f'{self._kinematics.joint_names[worst]} would turn at {fastest:.2f} rad/s; '
                f'at most {self._speed[worst]:.2f}'
            )
        outside, now = (self._outside(joints) for joints in (arm.positions[-1], start))
        # An arm that somebody pushed out of its workspace may come back, and stay where it is, but not go farther.
        if outside > max(now, 0.0) + TIP_SLACK:
            yield f'the tip would end {outside:.3f} m outside the workspace'

    def _outside(self, joints: np.ndarray) -> float:
        """Return how far the tip is outside the workspace, m."""
        position, _ = self._kinematics.forward(joints)
        return float(np.linalg.norm(position - np.clip(position, self._lower, self._upper)))

    def _check_joints(self, positions: np.ndarray, what: str) -> None:
        limits = self._kinematics.limits
        bad = (positions < limits.lower - JOINT_SLACK) | (positions > limits.upper + JOINT_SLACK)
        if bad.any():
            joint = int(np.argmax(bad.any(axis=0)))
            raise ActionError(
                f'{what} has {self._kinematics.joint_names[joint]} at {positions[:, joint].round(3).tolist()} rad, '
                f'outside its limits of {limits.lower[joint]:g} to {limits.upper[joint]:g}'
            )

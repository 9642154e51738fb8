"""From an action to joint trajectories, within every limit (paper section IV-A; limits in the cell's configuration)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtopt_core.configuration import CellConfiguration
from mtopt_core.description.cell_table import CELL
from mtopt_core.description.parts import CellTable
from mtopt_core.episode import Action
from mtopt_core.errors import ActionError, KinematicsError
from mtopt_core.kinematics import Kinematics
from mtopt_core.trajectory import Trajectory
from mtopt_core.workspace import TRAVEL_HEIGHT, Workspace

# The fingers are where they shall be after this share of the step; the rest of it builds up the grip.
GRIPPER_SHARE = 0.6
# Peak speed of a cubic from rest to rest, relative to its mean.
PEAK = 1.5
MAX_HALVINGS = 4


@dataclass(frozen=True)
class PlannedStep:
    """What becomes of an action.

    Attributes:
        arm: Trajectory of the arm's joints; one waypoint, at rest.
        gripper: Trajectory of the finger joint, `(N, 1)`, as long as the arm's.
        displacement: `(3,)` m, after limits, base frame.
        yaw_change: rad, after limits.
        reason: What was clipped, empty for nothing.
        gripper_closed: Whether the gripper is commanded closed from now on.
    """

    arm: Trajectory
    gripper: Trajectory
    displacement: np.ndarray
    yaw_change: float
    reason: str
    gripper_closed: bool


class StepPlanner:
    """Plans steps and moves of one arm.

    Args:
        kinematics: Of the arm.
        cell: Limits and step length.
        table: Bins the fingers must not run into, and the gripper.
    """

    def __init__(self, kinematics: Kinematics, cell: CellConfiguration, table: CellTable = CELL) -> None:
        self.kinematics = kinematics
        self._step = cell.step
        self._move_speed = cell.limits.move_speed
        self._joint_speed = cell.limits.joint_speed * kinematics.limits.velocity
        self._workspace = Workspace(cell.limits, table)
        self._finger_open = table.arm.finger_open

    def plan(self, joint_positions: np.ndarray, action: Action, gripper_closed: bool) -> PlannedStep:
        """Turn an action into trajectories of exactly one step's length.

        Displacement and turn are clipped to the step's limits, the target to the workspace and off the bins' walls,
        then both are scaled down until the joints can do it in time; what no joint motion can reach holds the arm where
        it is. A terminating action moves nothing.

        Args:
            joint_positions: `(J,)` rad, where the arm is now.
            action: What to do.
            gripper_closed: Last gripper command was close.

        Raises:
            ActionError: The action is not finite, or closes and opens at once.
        """
        wanted = _checked(action)
        limit = np.array([self._step.max_displacement] * 3 + [self._step.max_yaw_change])
        change = np.zeros(4) if action.terminate else np.clip(wanted, -limit, limit)
        notes = ['clipped to the step limits'] if not action.terminate and np.any(change != wanted) else []

        position, rotation = self.kinematics.forward(joint_positions)
        yaw = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
        start = np.append(position, yaw)
        allowed = self._workspace.clip(start, start + change)
        if not np.allclose(allowed, start + change, atol=1e-9):
            notes.append('clipped to the workspace')
            change = np.clip(allowed - start, -limit, limit)

        target, share = self._reachable(joint_positions, start, change)
        if share < 1:
            notes.append(f'scaled to {share:.0%} by the joint limits' if share else 'held: out of reach')
        changes_gripper = not action.terminate and (action.close_gripper or action.open_gripper)
        closed = action.close_gripper if changes_gripper else gripper_closed
        return PlannedStep(
            arm=Trajectory.at_rest([self._step.duration], target[None]),
            gripper=self.gripper(closed),
            displacement=change[:3] * share,
            yaw_change=float(change[3] * share),
            reason=', '.join(notes),
            gripper_closed=closed,
        )

    def gripper(self, closed: bool) -> Trajectory:
        """Return one step's trajectory of the finger joint, `(2, 1)`: there early, held to the end."""
        duration = self._step.duration
        position = 0.0 if closed else self._finger_open
        return Trajectory.at_rest([GRIPPER_SHARE * duration, duration], np.full((2, 1), position))

    def plan_move(self, joint_positions: np.ndarray, position: np.ndarray, yaw: float) -> Trajectory:
        """Plan a move between episodes: up to travel height, across, down to the pose; at rest at each waypoint.

        Args:
            joint_positions: `(J,)` rad, where the arm is now.
            position: `(3,)` m, the tip's goal in the base frame.
            yaw: rad.

        Raises:
            ActionError: The goal is not finite, outside the workspace, in a bin's wall, or cannot be reached.
        """
        goal = np.append(np.asarray(position, float), yaw)
        if goal.shape != (4,) or not np.isfinite(goal).all():
            raise ActionError(f'move to {goal.tolist()}: x, y, z and yaw must be four finite numbers')
        if not np.allclose(self._workspace.clip_to_box(goal[:3]), goal[:3], atol=1e-9):
            raise ActionError(f'move to {goal[:3].round(3).tolist()} m leaves the workspace {self._workspace.box_text}')
        if not self._workspace.clears_walls(goal):
            raise ActionError(
                f'move to {goal[:3].round(3).tolist()} m at {yaw:.2f} rad would run the open fingers into a wall: '
                'so low they must be within a bin'
            )
        tip, _ = self.kinematics.forward(joint_positions)
        travel = max(goal[2], TRAVEL_HEIGHT)
        corners = [] if tip[2] >= travel else [np.array([*tip[:2], travel, self.kinematics.yaw(joint_positions)])]
        corners += [np.array([*goal[:2], travel, yaw]), goal]
        times, joints = [0.0], [np.asarray(joint_positions, float)]
        for corner in corners:
            try:
                following = self.kinematics.inverse(joints[-1], corner[:3], corner[3])
            except KinematicsError as error:
                raise ActionError(f'move: {error}') from None
            distance = float(np.linalg.norm(corner[:3] - self.kinematics.forward(joints[-1])[0]))
            duration = max(PEAK * distance / self._move_speed, self.shortest(joints[-1], following))
            if duration > 1e-3:
                times.append(times[-1] + duration)
                joints.append(following)
        if len(times) == 1:
            return Trajectory.at_rest([self._step.duration], joints[0][None])
        return Trajectory.at_rest(times[1:], np.array(joints[1:]))

    def shortest(self, start: np.ndarray, target: np.ndarray) -> float:
        """Return the shortest time the joints may take from rest to rest, s; positions `(J,)` rad."""
        return float(np.max(PEAK * np.abs(target - start) / self._joint_speed))

    def _reachable(self, start: np.ndarray, pose: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the joint target and the largest tried share of `change` (dx, dy, dz, dyaw) the joints can do."""
        share = 1.0
        for _ in range(MAX_HALVINGS + 1):
            goal = pose + share * change
            try:
                target = self.kinematics.inverse(start, goal[:3], goal[3])
            except KinematicsError:
                share /= 2
                continue
            possible = self._step.duration * self._joint_speed / (PEAK * np.maximum(np.abs(target - start), 1e-9))
            if possible.min() >= 1:
                return target, share
            share *= max(0.95 * float(possible.min()), 0.25)
        return np.array(start, float), 0.0


def _checked(action: Action) -> np.ndarray:
    """Return displacement and yaw change as `(4,)`."""
    wanted = np.append(np.asarray(action.displacement, float), action.yaw_change)
    if wanted.shape != (4,) or not np.isfinite(wanted).all():
        raise ActionError(f'action {wanted.tolist()}: displacement and yaw change must be four finite numbers')
    if action.close_gripper and action.open_gripper:
        raise ActionError('action closes and opens the gripper at once; choose one')
    return wanted

"""Decides which actions and moves reach the arm, and as which trajectories.

Every trajectory ends at rest, so holding when commands stop means sending nothing: whichever node dies, the arm stands
still within one step. Limits are the step planner's; what is checked here is time and order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from mtopt_collector.joint_reading import JointReading
from mtopt_core.episode import Action
from mtopt_core.errors import ActionError
from mtopt_core.step_planner import PlannedStep, StepPlanner
from mtopt_core.trajectory import Trajectory

SECOND = 1_000_000_000
# A whole number of every controller's cycles, s: a trajectory that ends between two would end early or late.
CYCLE = 0.02
# A lock-step simulator may be slower than real time; after this it is taken for gone.
LOST_AFTER = 5.0


class GripperCommand(IntEnum):
    """What the gripper does before a move; numbers as in mtopt_msgs/MoveTo."""

    KEEP = 0
    OPEN = 1
    CLOSE = 2


@dataclass(frozen=True)
class Decision:
    """An action together with what it was decided on.

    Attributes:
        action: What to do.
        stamp: Of the observation decided on, ns.
        episode_id: The episode it belongs to.
        step: Its number in the episode.
    """

    action: Action
    stamp: int
    episode_id: str
    step: int


@dataclass(frozen=True)
class Command:
    """A pair of trajectories of equal length.

    Attributes:
        start: Stamp of the joint state they start from, ns.
        end: Stamp at which the arm is at rest again, ns.
        arm: Of the arm's joints.
        gripper: Of the finger joint.
    """

    start: int
    end: int
    arm: Trajectory
    gripper: Trajectory


class ArmControl:
    """Turns decisions and moves into commands, one at a time.

    Args:
        planner: Plans within all limits.
        max_observation_age: Largest age of the observation decided on, against the newest joint state, s.
        joint_state_timeout: Largest wall time since the newest joint state, s; 0 where a lock-step simulator is
            rightly silent between steps.
    """

    def __init__(self, planner: StepPlanner, max_observation_age: float, joint_state_timeout: float) -> None:
        self._planner = planner
        self._max_observation_age = max_observation_age
        self._joint_state_timeout = joint_state_timeout
        self._reading: JointReading | None = None
        self._read_at = 0.0
        self._last: Decision | None = None
        self._rest_at = 0
        self._given_up_at = 0.0

    @property
    def stamp(self) -> int:
        """Stamp of the newest joint state, ns; 0 before the first."""
        return 0 if self._reading is None else self._reading.stamp

    def read(self, reading: JointReading, now: float) -> None:
        """Take a joint state that came at steady time `now`, s."""
        if reading.stamp < self.stamp:
            # Stamps of one driver only fall when its clock starts anew: a simulator was restarted.
            self._last, self._rest_at = None, 0
        self._reading, self._read_at = reading, now

    def knows(self, stamp: int) -> bool:
        """Return whether the newest joint state is at or after an observation: they travel on different topics."""
        return self._reading is not None and self._reading.stamp >= stamp

    def at_rest(self, stamp: int) -> bool:
        """Return whether the joint states have reached a command's end."""
        return self.stamp >= stamp

    def decide(self, decision: Decision, now: float) -> tuple[PlannedStep, Command | None]:
        """Turn a decision into a command; terminating needs none, nothing moves.

        Args:
            decision: The action and what it was decided on.
            now: Steady time, s.

        Raises:
            ActionError: It is not finite, out of order, too old, or came while the arm moves.
        """
        reading = self._ready(now)
        last = self._last
        if last is not None and decision.episode_id == last.episode_id and decision.step <= last.step:
            raise ActionError(f'step {decision.step} came after step {last.step}: repeated or out of order')
        if decision.stamp < self._rest_at:
            raise ActionError(
                f'decided on an observation of {_seconds(decision.stamp)} s, before the last step ended at '
                f'{_seconds(self._rest_at)} s'
            )
        if not self.knows(decision.stamp):
            raise ActionError(f'no joint state at or after the observation of {_seconds(decision.stamp)} s')
        age = (reading.stamp - decision.stamp) / SECOND
        if age > self._max_observation_age:
            raise ActionError(f'decided on an observation {age:.2f} s old; at most {self._max_observation_age:g} s')
        planned = self._planner.plan(reading.positions, decision.action, reading.gripper_closed)
        self._last = decision
        if decision.action.terminate:
            return planned, None
        return planned, self._command(reading, planned.arm, planned.gripper, now)

    def move(self, position: np.ndarray, yaw: float, gripper: GripperCommand, now: float) -> Command:
        """Plan a move between episodes, the gripper's part first.

        Args:
            position: `(3,)` m, the tip's goal in the base frame.
            yaw: rad.
            gripper: Carried out before the arm moves.
            now: Steady time, s.

        Raises:
            ActionError: The goal breaks a limit, or the arm moves.
        """
        reading = self._ready(now)
        if reading.stamp < self._rest_at:
            raise ActionError(f'the arm moves until {_seconds(self._rest_at)} s')
        closed = reading.gripper_closed if gripper is GripperCommand.KEEP else gripper is GripperCommand.CLOSE
        arm = _in_whole_cycles(self._planner.plan_move(reading.positions, position, yaw))
        fingers = self._planner.gripper(closed)
        if gripper is not GripperCommand.KEEP:
            arm = _after(fingers.duration, reading.positions, arm)
        return self._command(reading, arm, _held(fingers, arm.duration), now)

    def _ready(self, now: float) -> JointReading:
        if self._reading is None:
            raise ActionError('no joint state has come yet; is the arm running?')
        if 0 < self._joint_state_timeout < now - self._read_at:
            raise ActionError(f'the newest joint state is {now - self._read_at:.2f} s old; is the arm running?')
        if self._reading.stamp < self._rest_at and now > self._given_up_at:
            # The trajectory was lost with a simulator or a driver that died; waiting for its end would be for ever.
            self._rest_at = self._reading.stamp
        return self._reading

    def _command(self, reading: JointReading, arm: Trajectory, gripper: Trajectory, now: float) -> Command:
        self._rest_at = reading.stamp + round(arm.duration * SECOND)
        self._given_up_at = now + arm.duration + LOST_AFTER
        return Command(reading.stamp, self._rest_at, arm, gripper)


def _in_whole_cycles(trajectory: Trajectory) -> Trajectory:
    """Return a trajectory that takes its last waypoint a little slower, so that it ends with a control cycle."""
    whole = math.ceil(round(trajectory.duration / CYCLE, 6)) * CYCLE
    return replace(trajectory, times=np.append(trajectory.times[:-1], whole))


def _after(pause: float, positions: np.ndarray, trajectory: Trajectory) -> Trajectory:
    """Return a trajectory that first stands still at `positions` for a while, s."""
    return Trajectory(
        np.append(pause, trajectory.times + pause),
        np.vstack([positions, trajectory.positions]),
        np.vstack([np.zeros_like(positions), trajectory.velocities]),
    )


def _held(fingers: Trajectory, duration: float) -> Trajectory:
    """Return the fingers' trajectory with its last point held until `duration`, s: both trajectories end together."""
    times = fingers.times * min(1.0, duration / fingers.duration)
    return Trajectory.at_rest([*times[:-1], duration], fingers.positions)


def _seconds(stamp: int) -> str:
    return f'{stamp / SECOND:.3f}'

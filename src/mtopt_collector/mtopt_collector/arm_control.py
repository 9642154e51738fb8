"""Decides which actions and moves reach the arm, and as which trajectories.

Every trajectory is at most one step long and ends at rest, so holding when commands stop means sending nothing:
whichever node dies during an episode, the arm stands still within one step. Longer moves, between episodes, are cut
into parts, sent one by one. The limits are the step planner's, and checked once more before anything is sent; time and
order are checked here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from mtopt_collector.command_limits import CommandLimits
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
# A joint state that is older than the one before by more, ns, is of a simulator that was started anew.
RESTARTED = SECOND // 10
# rad; an arm that is farther from where the last part of a move ended was held up, or pushed.
BLOCKED = 0.1


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


@dataclass(frozen=True)
class Part:
    """A part of a move, at most one step long.

    Attributes:
        expected: `(J,)` rad, where the arm must be when it starts.
        target: `(J,)` rad, where it ends.
        duration: s.
        gripper: Of the finger joint, as long as the part or shorter, then held.
    """

    expected: np.ndarray
    target: np.ndarray
    duration: float
    gripper: Trajectory


class ArmControl:
    """Turns decisions and moves into commands, one at a time.

    Args:
        planner: Plans within all limits.
        limits: What every command is checked against.
        longest: Longest trajectory, s: the length of a step.
        max_observation_age: Largest age of the observation decided on, against the newest joint state, s.
        joint_state_timeout: Largest wall time since the newest joint state, s; 0 where a lock-step simulator is
            rightly silent between steps.
    """

    def __init__(
        self,
        planner: StepPlanner,
        limits: CommandLimits,
        longest: float,
        max_observation_age: float,
        joint_state_timeout: float,
    ) -> None:
        self._planner = planner
        self._limits = limits
        self._longest = longest
        self._max_observation_age = max_observation_age
        self._joint_state_timeout = joint_state_timeout
        self._reading: JointReading | None = None
        self._read_at = 0.0
        self._last: Decision | None = None
        self._rest_at = 0
        self._fingers = 0.0
        self._given_up_at = 0.0

    @property
    def stamp(self) -> int:
        """Stamp of the newest joint state, ns; 0 before the first."""
        return 0 if self._reading is None else self._reading.stamp

    def read(self, reading: JointReading, now: float) -> None:
        """Take a joint state that came at steady time `now`, s."""
        if self.stamp - RESTARTED <= reading.stamp < self.stamp:
            # It came late. What is known of the arm, and that it moves, must not be forgotten for that.
            return
        if reading.stamp < self.stamp:
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
        command = None if decision.action.terminate else self._command(reading, planned.arm, planned.gripper, now)
        self._last = decision
        return planned, command

    def plan_move(self, position: np.ndarray, yaw: float, gripper: GripperCommand, now: float) -> list[Part]:
        """Plan a move between episodes, the gripper's part first; nothing is sent yet.

        Args:
            position: `(3,)` m, the tip's goal in the base frame.
            yaw: rad.
            gripper: Carried out before the arm moves.
            now: Steady time, s.

        Returns:
            The parts to `follow`, each once the one before it has ended.

        Raises:
            ActionError: The goal breaks a limit, or the arm moves.
        """
        reading = self._ready(now)
        if reading.stamp < self._rest_at:
            raise ActionError(f'the arm moves until {_seconds(self._rest_at)} s')
        closed = reading.gripper_closed if gripper is GripperCommand.KEEP else gripper is GripperCommand.CLOSE
        fingers = self._planner.gripper(closed)
        parts = []
        if gripper is not GripperCommand.KEEP:
            parts.append(Part(reading.positions, reading.positions, fingers.duration, fingers))
        way = self._planner.plan_move(reading.positions, position, yaw)
        before, since = reading.positions, 0.0
        for corner, time in zip(way.positions, way.times, strict=True):
            number = math.ceil(round((time - since) / _whole_cycles(self._longest, math.floor), 6))
            duration = _whole_cycles((time - since) / number)
            ends = [before + (corner - before) * part / number for part in range(number + 1)]
            parts += [Part(here, there, duration, fingers) for here, there in itertools.pairwise(ends)]
            before, since = corner, time
        return parts

    def follow(self, part: Part, now: float) -> Command:
        """Turn the next part of a move into a command, from where the arm is.

        Raises:
            ActionError: The arm moves, is not where the part before was to bring it, or a limit would be broken.
        """
        reading = self._ready(now)
        if reading.stamp < self._rest_at:
            raise ActionError(f'the arm moves until {_seconds(self._rest_at)} s')
        off = np.abs(reading.positions - part.expected)
        if off.max() > BLOCKED:
            raise ActionError(
                f'the arm is blocked or was pushed: joint {int(off.argmax()) + 1} is {off.max():.2f} rad from where '
                'the move was to bring it; clear its way'
            )
        # What the arm lags behind is caught up within the same speeds, by taking a little longer.
        duration = max(part.duration, self._planner.shortest(reading.positions, part.target))
        duration = min(_whole_cycles(duration), self._longest)
        arm = Trajectory.at_rest([duration], part.target[None])
        return self._command(reading, arm, _held(part.gripper, duration), now)

    def hold(self, now: float) -> Command | None:
        """Return the command that brings a moving arm to rest where it was last seen; None for one that rests.

        Fingers that open stay where they are: somebody's may be between them. Fingers that close or hold go on, for
        what they hold would fall.
        """
        reading = self._reading
        if reading is None or reading.stamp >= self._rest_at:
            return None
        arm = Trajectory.at_rest([self._longest], reading.positions[None])
        if self._fingers == 0:
            fingers = _held(self._planner.gripper(closed=True), self._longest)
        else:
            # A driver's zero may be a little off; beyond their travel they are not sent.
            here = np.clip(reading.gripper_width / 2, 0.0, self._fingers)
            fingers = Trajectory.at_rest([self._longest], np.array([[here]]))
        return self._command(reading, arm, fingers, now)

    def _ready(self, now: float) -> JointReading:
        if self._reading is None:
            raise ActionError('no joint state has come yet; is the arm running?')
        if 0 < self._joint_state_timeout < now - self._read_at:
            raise ActionError(f'the newest joint state is {now - self._read_at:.2f} s old; is the arm running?')
        self._limits.check_start(self._reading.positions)
        if self._reading.stamp < self._rest_at and now > self._given_up_at:
            # The trajectory was lost with a simulator or a driver that died; waiting for its end would be for ever.
            self._rest_at = self._reading.stamp
        return self._reading

    def _command(self, reading: JointReading, arm: Trajectory, gripper: Trajectory, now: float) -> Command:
        self._limits.check(reading.positions, arm, gripper)
        self._rest_at = reading.stamp + round(arm.duration * SECOND)
        self._given_up_at = now + arm.duration + LOST_AFTER
        self._fingers = float(gripper.positions[-1, 0])
        return Command(reading.stamp, self._rest_at, arm, gripper)


def _whole_cycles(seconds: float, to_whole: Callable[[float], int] = math.ceil) -> float:
    """Return a time as a whole number of control cycles, s, rounded up or as told."""
    return to_whole(round(seconds / CYCLE, 6)) * CYCLE


def _held(fingers: Trajectory, duration: float) -> Trajectory:
    """Return the fingers' trajectory with its last point held until `duration`, s: both trajectories end together."""
    times = fingers.times * min(1.0, duration / fingers.duration)
    return Trajectory.at_rest([*times[:-1], duration], fingers.positions)


def _seconds(stamp: int) -> str:
    return f'{stamp / SECOND:.3f}'

"""The two crude scripted policies that bootstrap everything (paper Appendix X-B).

Their noise is the learned policy's only picture of the actions it may take, so it covers them all: short and long
displacements in every direction, turns, ways up as well as down, and every choice at any height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtopt_core.episode import Action, Observation, Source
from mtopt_core.tasks import TaskSet
from mtopt_core.workspace import MAX_YAW
from mtopt_policy.action_space import ActionSpace, Choice, finishing_choice


@dataclass(frozen=True)
class Target:
    """Where an aimed script finishes.

    Attributes:
        position: `(3,)` m, of the tip, base frame.
        yaw: rad; half a turn more is the same to a gripper of two fingers.
    """

    position: np.ndarray
    yaw: float


# What to go for, given the task and the policy's random numbers; none to just wander.
Aim = Callable[[str, np.random.Generator], Target | None]

# Heights of the gripper tip above the bottom of the bin, m.
FINISHING_HEIGHT = {Choice.CLOSE: (0.005, 0.03), Choice.OPEN: (0.04, 0.15)}
LIFTED_HEIGHT = 0.13  # QT-Opt's scripted termination: closed, above this, still commanded upward
RETRACTION = 0.08
CLEAR_HEIGHT = 0.12  # above all objects: an aimed descent waits here until it is over its target
ARRIVED, TURNED = 0.02, 0.3  # m horizontally, rad


@dataclass(frozen=True)
class ScriptedNoise:
    """Random deviations from the script, all drawn anew at every step.

    Attributes:
        wander: The horizontal noise is `u ** wander` of the largest displacement long, u uniform in [0, 1]: the
            larger, the more short moves beside the long ones.
        distraction: Probability of wandering in spite of an aim.
        rise: Probability of a step up instead of down.
        early: Probability of the finishing choice before its height.
        aimless: Probability of an episode that does not aim though it could, for what lies beside the objects.
        random: Probability of a move drawn evenly from all there are, wherever the arm is. Without it nothing would be
            known of moves along the bottom, and CEM would find the most overrated of them.
        stray: Probability of any other choice, where the action space learns them.
    """

    wander: float = 2.0
    distraction: float = 0.1
    rise: float = 0.1
    early: float = 0.05
    aimless: float = 0.3
    random: float = 0.2
    stray: float = 0.03


class ScriptedPolicy:
    """Picks in the tasks of the lift skill, places in those of the place skill.

    Picking: down in random steps to the bottom of the bin, close, lift. Placing: down in random steps to a random
    height, open, retract.

    Args:
        tasks: The tasks and their skills.
        action_space: Decides how an episode ends: by the scripted ending, or by steps up and a terminate of its own.
        noise: Random deviations.
        aim: Makes a better teacher than the paper's, from what no observation tells; for bulk simulation.
    """

    name = 'scripted'
    model_version = ''
    views: tuple[str, ...] = ()

    def __init__(
        self, tasks: TaskSet, action_space: ActionSpace, noise: ScriptedNoise | None = None, aim: Aim | None = None
    ):
        self._tasks = tasks
        self._space = action_space
        self._noise = noise or ScriptedNoise()
        self._aim = aim

    def begin(self, task: str, seed: int) -> None:
        """Start an episode; see `Policy.begin`."""
        self._skill = self._tasks[task].skill
        self._finishing = finishing_choice(self._skill)
        self._rng = np.random.default_rng(seed)
        self._target = None
        if self._aim is not None and self._rng.random() >= self._noise.aimless:
            self._target = self._aim(task, self._rng)
        self._finishing_height = self._rng.uniform(*FINISHING_HEIGHT[self._finishing])
        if self._target is not None:
            self._finishing_height = float(self._target.position[2])
        self._ending = iter(self._space.ending(self._skill))
        self._end_height: float | None = None

    def act(self, observation: Observation) -> Action:
        """Decide; see `Policy.act`."""
        if self._end_height is not None and self._space.scripted_ending:
            return next(self._ending)
        stray = [choice for choice in Choice if choice not in (Choice.MOVE, self._finishing)]
        allowed = self._space.choices(self._skill, observation.gripper_closed)
        stray = [choice for choice in stray if allowed[choice]]
        if stray and self._rng.random() < self._noise.stray:
            return self._action(stray[self._rng.integers(len(stray))], self._wander())
        if self._end_height is not None:
            return self._end(observation.height_to_bottom > self._end_height)
        if self._rng.random() < self._noise.random:
            return self._action(Choice.MOVE, self._anywhere())
        low = observation.height_to_bottom <= self._finishing_height + 0.005
        if low or self._rng.random() < self._noise.early:
            lift = self._finishing == Choice.CLOSE
            self._end_height = LIFTED_HEIGHT if lift else observation.height_to_bottom + RETRACTION
            return self._action(self._finishing, self._wander())
        return self._approach(observation)

    def _approach(self, observation: Observation) -> Action:
        """Return the next move on the way down."""
        limit, floor = self._space.max_displacement, self._finishing_height
        displacement, turn = self._wander(), self._turn()
        if self._target is not None and self._rng.random() >= self._noise.distraction:
            way = self._target.position[:2] - observation.tip_position[:2]
            displacement[:2] = way * min(1.0, limit / max(float(np.linalg.norm(way)), 1e-9))
            left = shortest_turn(observation.yaw, self._target.yaw)
            turn = float(np.clip(left, -self._space.max_yaw_change, self._space.max_yaw_change))
            if np.linalg.norm(way) > ARRIVED or abs(left) > TURNED:
                floor = max(floor, CLEAR_HEIGHT)
        if self._rng.random() < self._noise.rise:
            displacement[2] = self._rng.uniform(0, limit)
        else:
            displacement[2] = -min(self._rng.uniform(0.2, 1) * limit, max(observation.height_to_bottom - floor, 0))
        return self._action(Choice.MOVE, displacement, turn)

    def _end(self, high_enough: bool) -> Action:
        """Return a step up, or terminate."""
        if high_enough:
            return self._action(Choice.TERMINATE, np.zeros(3))
        return self._action(Choice.MOVE, np.array([0, 0, self._space.max_displacement]))

    def _anywhere(self) -> np.ndarray:
        """Return a displacement drawn evenly from a disc by all heights, `(3,)` m."""
        length, direction = np.sqrt(self._rng.random()), self._rng.uniform(-np.pi, np.pi)
        share = np.array([length * np.cos(direction), length * np.sin(direction), self._rng.uniform(-1, 1)])
        return share * self._space.max_displacement

    def _wander(self) -> np.ndarray:
        """Return a random horizontal displacement, `(3,)` m."""
        length = self._space.max_displacement * self._rng.random() ** self._noise.wander
        direction = self._rng.uniform(-np.pi, np.pi)
        return length * np.array([np.cos(direction), np.sin(direction), 0])

    def _turn(self) -> float:
        """Return a random turn, rad."""
        return self._rng.uniform(-1, 1) * self._space.max_yaw_change

    def _action(self, choice: Choice, displacement: np.ndarray, turn: float | None = None) -> Action:
        turn = self._turn() if turn is None else turn
        still = self._space.still[choice]
        return Action(
            displacement=np.zeros(3) if still else displacement,
            yaw_change=0.0 if still else turn,
            close_gripper=choice == Choice.CLOSE,
            open_gripper=choice == Choice.OPEN,
            terminate=choice == Choice.TERMINATE,
            source=Source.SCRIPTED,
        )


def shortest_turn(start: float, goal: float) -> float:
    """Return the turn, rad, that brings two fingers from one yaw to another or to half a turn from it.

    Of the two or three the nearest that the workspace has: beyond `MAX_YAW` the arm would stand and wait.
    """
    alike = (goal + np.pi / 2) % np.pi - np.pi / 2 + np.pi * np.arange(-1, 2)
    allowed = alike[np.abs(alike) <= MAX_YAW]
    return float(allowed[np.abs(allowed - start).argmin()] - start)

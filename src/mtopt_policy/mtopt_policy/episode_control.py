"""One episode's control: ask the policy, count the steps, know when the episode has ended and why."""

from __future__ import annotations

import time

import numpy as np

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Action, Observation, Source, Termination
from mtopt_policy.action_space import NO_DECISIONS
from mtopt_policy.policy import Policy

# What counts as motion of the gripper's tip: m, rad.
MOTION, TURN = 0.005, 0.05


class EpisodeControl:
    """Runs a policy from the first observation to the end; whoever drives it carries the actions out.

    ```
    while (action := control.decide(observation)) is not None:
        observation = ...  # carry the action out and look again; a terminating action moves nothing
    ```

    Attributes:
        policy: The policy.
        steps: Actions decided so far.
        termination: Why the episode ended, `NONE` while it has not.
        q_values: Q of every action that has one.
        decision_times: Wall time of every decision, s; a reflex and the steps of a scripted ending are none.
    """

    def __init__(self, policy: Policy, task: str, seed: int, step: StepConfiguration):
        """Begin the episode.

        Raises:
            UnknownTaskError: The policy does not know the task.
        """
        policy.begin(task, seed)
        self.policy = policy
        self.steps = 0
        self.termination = Termination.NONE
        self.q_values: list[float] = []
        self.decision_times: list[float] = []
        self._step = step
        self._reflex = Action(np.array([0.0, 0.0, step.reflex]), source=Source.REFLEX)
        self._stuck = 0
        self._before: tuple[Observation, Action] | None = None

    def decide(self, observation: Observation) -> Action | None:
        """Return the next action, none once the episode has ended.

        A scripted ending may run beyond the step limit: cut short, the decision before it could not succeed. An arm
        that presses on something does not move, whatever it is told: friction holds it. It then rises by reflex, which
        is no decision of the policy, and the episode goes on; if not even that moves it, the episode has failed.
        """
        if self.termination != Termination.NONE:
            return None
        self._stuck = self._stuck + 1 if self._stands_still(observation) else 0
        if self._stuck >= self._step.stuck_steps:
            self.termination = Termination.STUCK
            return None
        start = time.perf_counter()
        action = self._reflex if self._stuck else self.policy.act(observation)
        elapsed = time.perf_counter() - start
        if action.source == Source.ENDING and action.terminate:
            self.termination = Termination.SCRIPTED_ENDING
            return None
        if action.source != Source.ENDING and self.steps >= self._step.max_steps:
            self.termination = Termination.STEP_LIMIT
            return None
        if action.terminate:
            self.termination = Termination.TERMINATE
        self.steps += 1
        if action.source not in NO_DECISIONS:
            self.decision_times.append(elapsed)
        if np.isfinite(action.q_value):
            self.q_values.append(action.q_value)
        self._before = observation, action
        return action

    def _stands_still(self, observation: Observation) -> bool:
        """Return whether the last action was a move and nothing came of it."""
        if self._before is None:
            return False
        before, action = self._before
        if action.source == Source.ENDING or action.close_gripper or action.open_gripper:
            return False
        turned = (observation.yaw - before.yaw + np.pi) % (2 * np.pi) - np.pi
        moved = np.linalg.norm(observation.tip_position - before.tip_position)
        return bool(moved < MOTION and abs(turned) < TURN)

"""One episode's control: ask the policy, count the steps, know when the episode has ended and why."""

from __future__ import annotations

import time

import numpy as np

from mtopt_core.episode import Action, Observation, Source, Termination
from mtopt_policy.policy import Policy


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
        decision_times: Wall time of every decision, s; steps of a scripted ending are none.
    """

    def __init__(self, policy: Policy, task: str, seed: int, max_steps: int):
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
        self._max_steps = max_steps

    def decide(self, observation: Observation) -> Action | None:
        """Return the next action, none once the episode has ended.

        A scripted ending may run beyond the step limit: cut short, the decision before it could not succeed.
        """
        if self.termination != Termination.NONE:
            return None
        start = time.perf_counter()
        action = self.policy.act(observation)
        elapsed = time.perf_counter() - start
        if action.source == Source.ENDING and action.terminate:
            self.termination = Termination.SCRIPTED_ENDING
            return None
        if action.source != Source.ENDING and self.steps >= self._max_steps:
            self.termination = Termination.STEP_LIMIT
            return None
        if action.terminate:
            self.termination = Termination.TERMINATE
        self.steps += 1
        if action.source != Source.ENDING:
            self.decision_times.append(elapsed)
        if np.isfinite(action.q_value):
            self.q_values.append(action.q_value)
        return action

"""Task impersonation (paper section IV-B, Algorithm 1): one episode trains the policy for several tasks.

Unlike hindsight relabelling it yields failures as well as successes: "The success example determines what the task
is, while the failure example determines what the task is not" (paper appendix X-C).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_core.tasks import TaskSet


class Impersonation(StrEnum):
    """The impersonation function f_I."""

    NONE = 'none'
    """f_orig: the episode trains its own task only."""
    ALL = 'all'
    """f_all: the episode trains every task."""
    SKILL = 'skill'
    """f_skill: the episode trains the tasks of its own skill."""
    SUCCESSES = 'successes'
    """As f_skill, but without another task's failures: what paper section VII-F compares with for lift-sausage."""
    GAIN = 'gain'
    """The episode trains its own task and those whose Q-function gains from it (`data_sharing.py`)."""


@dataclass(frozen=True)
class LoggedEpisodes:
    """Episodes in the episode store and what came of them.

    Attributes:
        places: Their places in the store's index, `(N,) int64`.
        tasks: Task T_i each was collected for, `(N,) int64`, places in the one-hot.
        outcomes: What they are for every task, `(N, T) int8` of `Verdict`; `UNSURE` also where nobody judged.
    """

    places: np.ndarray
    tasks: np.ndarray
    outcomes: np.ndarray

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.places)


def impersonated_tasks(strategy: Impersonation, tasks: TaskSet) -> np.ndarray:
    """Return which tasks {k_i} the episodes of each task T_i are used for, `(T, T) bool`: row i, column k."""
    if strategy in (Impersonation.NONE, Impersonation.GAIN):
        return np.eye(len(tasks), dtype=bool)
    if strategy == Impersonation.ALL:
        return np.ones((len(tasks), len(tasks)), bool)
    skills = np.array([task.skill for task in tasks.tasks])
    return skills[:, None] == skills


def impersonate(
    episodes: LoggedEpisodes, strategy: Impersonation, tasks: TaskSet, gains: np.ndarray | None = None
) -> np.ndarray:
    """Expand episodes to those they are for other tasks (paper Algorithm 1, for all episodes e_i at once).

    Args:
        episodes: The episodes.
        strategy: Impersonation function.
        tasks: The tasks.
        gains: Which tasks gain from which episodes, `(N, T) bool`, where that counts.

    Returns:
        Column k: the episodes e_k, which are e_i with the outcome, and so the reward, of task T_k. `(N, T) int8` of
        `Verdict`; `UNSURE` where an episode is not used for a task.
    """
    expanded_episodes = np.full_like(episodes.outcomes, Verdict.UNSURE)
    relevant = impersonated_tasks(strategy, tasks)
    for k in range(len(tasks)):
        outcomes = episodes.outcomes[:, k]
        used = relevant[episodes.tasks, k]
        if strategy == Impersonation.SUCCESSES:
            used &= (episodes.tasks == k) | (outcomes == Verdict.SUCCESS)
        if gains is not None:
            used |= gains[:, k]
        expanded_episodes[used, k] = outcomes[used]
    return expanded_episodes

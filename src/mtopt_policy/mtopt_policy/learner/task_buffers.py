"""Per-task buffers, "further split into successful and failure groups" (paper Fig. 11)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mtopt_core.tasks import TaskSet
from mtopt_policy.learner.impersonation import ImpersonatedEpisode

FAILURE, SUCCESS = 0, 1


@dataclass(frozen=True)
class TaskBuffers:
    """References to episodes by task and outcome: impersonating an episode as eight tasks costs eight integers.

    Attributes:
        tasks: Task names in one-hot order.
        groups: Per task the failures and the successes, each `(n,) int32` places in the episode store.
    """

    tasks: tuple[str, ...]
    groups: tuple[tuple[np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, episodes: Iterable[ImpersonatedEpisode], tasks: TaskSet) -> TaskBuffers:
        """Sort impersonated episodes into buffers."""
        lists: dict[str, tuple[list[int], list[int]]] = {task: ([], []) for task in tasks.names}
        for episode in episodes:
            lists[episode.task][episode.success].append(episode.index)
        return cls(
            tasks.names,
            tuple(
                (np.array(failures, np.int32), np.array(successes, np.int32)) for failures, successes in lists.values()
            ),
        )

    @property
    def sizes(self) -> np.ndarray:
        """Episodes by task and outcome, `(T, 2) int64`: failures, successes."""
        return np.array([[len(group) for group in groups] for groups in self.groups], np.int64).reshape(-1, 2)

    def sample(self, tasks: np.ndarray, outcomes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw an episode, uniformly within its group, for every pair of task and outcome.

        Args:
            tasks: `(B,) int`, places in the one-hot.
            outcomes: `(B,) int`, `FAILURE` or `SUCCESS`.
            rng: Source of the draw.

        Returns:
            Places in the episode store, `(B,) int64`.
        """
        groups = [self.groups[task][outcome] for task, outcome in zip(tasks, outcomes, strict=True)]
        return np.array([group[rng.integers(len(group))] for group in groups], np.int64)

"""How a data folder grew (paper Fig. 5): every task's successes and failures, by scripts and by learned policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtopt_core.catalogue import Row
from mtopt_core.episode import Verdict
from mtopt_core.tasks import TaskSet

LEARNED = 'learned'
"""What the names of learned policies begin with."""


@dataclass(frozen=True)
class TaskGrowth:
    """What one task has to learn from, counted over the episodes of its skill in order of time.

    Attributes:
        task: Its name.
        attempts: Episodes that attempted it.
        learned_successes: `(N,) int`, episodes of learned policies known to solve it after each of the folder's N,
            whichever task they attempted.
        other_successes: The same of all other policies, scripts mostly.
        learned_failures: The same of learned policies, known not to solve it.
        other_failures: The same of all others.
    """

    task: str
    attempts: int
    learned_successes: np.ndarray
    other_successes: np.ndarray
    learned_failures: np.ndarray
    other_failures: np.ndarray

    @property
    def successes(self) -> np.ndarray:
        """`(N,) int`, whoever acted."""
        return self.learned_successes + self.other_successes

    @property
    def failures(self) -> np.ndarray:
        """`(N,) int`, whoever acted."""
        return self.learned_failures + self.other_failures


def growth(rows: Sequence[Row], verdicts: np.ndarray, tasks: TaskSet) -> list[TaskGrowth]:
    """Return every task's growth.

    Args:
        rows: `N` episodes in order of time.
        verdicts: `(N, T) int` of `Verdict`, of whoever counts; an episode counts for the tasks of its skill alone.
        tasks: The tasks.
    """
    learned = np.array([row.policy.startswith(LEARNED) for row in rows], bool)
    skills = np.array([row.skill for row in rows], object)
    attempted = [tasks.current_name(row.task) for row in rows]
    grown = []
    for number, task in enumerate(tasks.tasks):
        own = skills == task.skill
        success, failure = (own & (verdicts[:, number] == kind) for kind in (Verdict.SUCCESS, Verdict.FAILURE))
        grown.append(
            TaskGrowth(
                task=task.name,
                attempts=attempted.count(task.name),
                learned_successes=np.cumsum(success & learned, dtype=int),
                other_successes=np.cumsum(success & ~learned, dtype=int),
                learned_failures=np.cumsum(failure & learned, dtype=int),
                other_failures=np.cumsum(failure & ~learned, dtype=int),
            )
        )
    return grown

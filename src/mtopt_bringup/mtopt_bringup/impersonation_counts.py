"""How much data each task has by itself and gains by impersonation (paper Fig. 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich import box
from rich.table import Table

from mtopt_core.catalogue import Row
from mtopt_core.episode import Termination, Verdict
from mtopt_core.tasks import TaskSet
from mtopt_core.verdict_query import NOT_JUDGED
from mtopt_policy.learner.impersonation import Impersonation, LoggedEpisodes, impersonate
from mtopt_policy.learner.task_buffers import FAILURE, SUCCESS, TaskBuffers

OWN = Impersonation.NONE
COMPARED = (OWN, Impersonation.SKILL, Impersonation.ALL)

Counts = Mapping[Impersonation, np.ndarray]
"""Episodes a task can learn from, by impersonation function: `(T, 2) int`, failures and successes."""


def count_impersonated(rows: Sequence[Row], verdicts: np.ndarray, tasks: TaskSet) -> Counts:
    """Count the episodes of every task as the learner's task buffers would hold them.

    Args:
        rows: `N` episodes; those that were aborted, or attempted an unknown task, are not learned from.
        verdicts: `(N, T) int` of `Verdict`, of whoever counts; unsure ones, and none, are not learned from.
        tasks: The tasks.
    """
    names = [tasks.current_name(row.task) for row in rows]
    usable = [
        number
        for number, (row, name) in enumerate(zip(rows, names, strict=True))
        if row.termination is not Termination.ABORTED and name in tasks.names
    ]
    attempted = np.array([tasks.index(names[number]) for number in usable], np.int64)
    known = np.where(verdicts == NOT_JUDGED, Verdict.UNSURE, verdicts)[usable].astype(np.int8)
    episodes = LoggedEpisodes(np.arange(len(usable)), attempted, known)
    return {
        strategy: TaskBuffers.of(episodes.places, impersonate(episodes, strategy, tasks)).sizes for strategy in COMPARED
    }


def table_of_counts(counts: Counts, tasks: TaskSet, graded_by: str) -> Table:
    """Return the counts for a terminal."""
    table = Table('task', title=f'episodes to learn from, graded by {graded_by}', box=box.SIMPLE)
    for strategy in counts:
        for outcome in ('success', 'failure'):
            table.add_column(f'{"own" if strategy is OWN else strategy}\n{outcome}', justify='right')
    for index, task in enumerate(tasks.names):
        numbers = [sizes[index, outcome] for sizes in counts.values() for outcome in (SUCCESS, FAILURE)]
        table.add_row(task, *(f'{number:,}' for number in numbers))
    return table

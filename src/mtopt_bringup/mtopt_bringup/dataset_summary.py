"""What a data folder holds: how it grew, what each task has to learn from, and what the final images look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtopt_core.catalogue import Row
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.tasks import TaskSet

Outcomes = Mapping[str, Mapping[str, Outcome]]
"""Outcomes by episode id and task."""


@dataclass(frozen=True)
class TaskGrowth:
    """What one task has to learn from, counted over the episodes of its skill in order of time.

    Attributes:
        task: Its name.
        attempts: Episodes that attempted it.
        successes: `(N,) int`, episodes known to solve it after each of the folder's N, whichever task they attempted.
        failures: `(N,) int`, the same for those known not to.
    """

    task: str
    attempts: int
    successes: np.ndarray
    failures: np.ndarray


def growth(rows: Sequence[Row], outcomes: Outcomes, tasks: TaskSet) -> list[TaskGrowth]:
    """Return every task's growth.

    Args:
        rows: Episodes in order of time.
        outcomes: Of whoever counts; unsure ones count for neither.
        tasks: The tasks.
    """
    return [_growth(rows, outcomes, task.name, task.skill) for task in tasks.tasks]


def _growth(rows: Sequence[Row], outcomes: Outcomes, task: str, skill: str) -> TaskGrowth:
    verdicts = [
        outcomes[row.episode_id][task].verdict
        if row.skill == skill and task in outcomes.get(row.episode_id, ())
        else Verdict.UNSURE
        for row in rows
    ]
    return TaskGrowth(
        task=task,
        attempts=sum(row.task == task for row in rows),
        successes=np.cumsum([verdict is Verdict.SUCCESS for verdict in verdicts], dtype=int),
        failures=np.cumsum([verdict is Verdict.FAILURE for verdict in verdicts], dtype=int),
    )


@dataclass(frozen=True)
class Example:
    """A final image and what was said of it.

    Attributes:
        row: The episode.
        outcome: By the detector, or by a person.
        truth: The simulator's, where there is one.
    """

    row: Row
    outcome: Outcome
    truth: bool | None

    @property
    def mistaken(self) -> bool:
        """Whether the verdict contradicts the truth."""
        return self.truth is not None and self.truth != (self.outcome.verdict is Verdict.SUCCESS)


def examples(rows: Sequence[Row], outcomes: Outcomes, truth: Outcomes, tasks: TaskSet) -> list[Example]:
    """Choose for every task the newest episode that solved it and the newest that attempted it in vain."""
    found = (
        next(_judged(rows, outcomes, truth, task, verdict), None)
        for task in tasks.names
        for verdict in (Verdict.SUCCESS, Verdict.FAILURE)
    )
    return [example for example in found if example is not None]


def mistakes(rows: Sequence[Row], outcomes: Outcomes, truth: Outcomes, tasks: TaskSet, number: int) -> list[Example]:
    """Choose some verdicts that contradict the truth, the surest first."""
    found = [
        example
        for task in tasks.names
        for verdict in (Verdict.SUCCESS, Verdict.FAILURE)
        for example in _judged(rows, outcomes, truth, task, verdict)
        if example.mistaken
    ]
    return sorted(found, key=lambda example: -abs(example.outcome.probability - 0.5))[:number]


def _judged(rows: Sequence[Row], outcomes: Outcomes, truth: Outcomes, task: str, verdict: Verdict) -> Iterator[Example]:
    """Yield a task's episodes of one verdict, newest first; those that failed must have attempted it."""
    for row in reversed(rows):
        outcome = outcomes.get(row.episode_id, {}).get(task)
        if outcome is not None and outcome.verdict is verdict and (verdict is Verdict.SUCCESS or row.task == task):
            true = truth.get(row.episode_id, {}).get(task)
            yield Example(row, outcome, None if true is None else true.verdict is Verdict.SUCCESS)

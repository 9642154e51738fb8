"""What the final images of a data folder look like, and what was said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mtopt_bringup.data_contents import Outcomes
from mtopt_core.catalogue import Row
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.tasks import TaskSet


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

"""What a newer success detector says otherwise than the one before it, of the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from mtopt_bringup.data_contents import Outcomes
from mtopt_core.catalogue import Row
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import TaskSet


@dataclass(frozen=True)
class Change:
    """One episode of which two detectors say different things.

    Attributes:
        row: The episode.
        before: What the older one says.
        after: What the newer one says.
    """

    row: Row
    before: Outcome
    after: Outcome


@dataclass(frozen=True)
class TaskChanges:
    """What changed of one task, over the episodes of its skill that both graded.

    Attributes:
        task: Its name.
        graded: Number of these episodes.
        changes: Those whose verdict changed, the largest change of the probability first.
    """

    task: str
    graded: int
    changes: tuple[Change, ...]

    def count(self, after: Verdict) -> int:
        """Return how many verdicts changed to one kind."""
        return sum(change.after.verdict is after for change in self.changes)


@dataclass(frozen=True)
class Comparison:
    """Two versions of the detector.

    Attributes:
        older: Version of the one.
        newer: Version of the other.
        tasks: What changed, by task.
        episodes: Episodes with at least one changed verdict.
    """

    older: str
    newer: str
    tasks: tuple[TaskChanges, ...]
    episodes: int

    def examples(self, number: int) -> list[Change]:
        """Return some changes, the largest of each task in turn."""
        longest = max((len(task.changes) for task in self.tasks), default=0)
        in_turn = [task.changes[n] for n in range(longest) for task in self.tasks if n < len(task.changes)]
        return in_turn[:number]


def compare_newest(data: DataFolder, rows: Sequence[Row], tasks: TaskSet) -> Comparison | None:
    """Compare the two newest detectors that graded a folder's episodes; None where less than two did.

    Raises:
        LabelError: The label store is damaged.
    """
    with closing(LabelStore(data)) as store:
        versions = store.detector_versions()
        if len(versions) < 2:
            return None
        older, newer = versions[-2:]
        before, after = store.outcomes_by(older), store.outcomes_by(newer)
    found = tuple(
        _changes(task.name, [row for row in rows if row.skill == task.skill], before, after) for task in tasks.tasks
    )
    changed = {change.row.episode_id for task in found for change in task.changes}
    return Comparison(older, newer, found, len(changed))


def _changes(task: str, rows: Sequence[Row], before: Outcomes, after: Outcomes) -> TaskChanges:
    both = [
        Change(row, before[row.episode_id][task], after[row.episode_id][task])
        for row in rows
        if task in before.get(row.episode_id, {}) and task in after.get(row.episode_id, {})
    ]
    changes = [change for change in both if change.before.verdict is not change.after.verdict]
    changes.sort(key=lambda change: -abs(change.after.probability - change.before.probability))
    return TaskChanges(task, len(both), tuple(changes))

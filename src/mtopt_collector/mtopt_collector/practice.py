"""What is known of every task's practice, from the catalogue and the label store of the data folder.

Robots that share a data folder share what they know; a robot with a folder of its own goes by its own episodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mtopt_collector.curriculum import Chooser, Record
from mtopt_core.catalogue import Catalogue
from mtopt_core.episode import Verdict
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import TaskSet
from mtopt_policy.policies import LEARNED

REFRESH_PERIOD = 5.0  # s


@dataclass(frozen=True)
class TaskPractice:
    """How far one task has come.

    Attributes:
        task: Its name.
        chance: Of being the next of its skill.
        at_parity: Whether it acts by its own policy.
        shares: Policies it is drawn from now, with their shares.
        record: What is known of it.
    """

    task: str
    chance: float
    at_parity: bool
    shares: Mapping[str, float]
    record: Record


class Practice:
    """Keeps a chooser up to date with what a data folder holds.

    Args:
        data: The data folder, whose catalogue is refreshed by whoever collects.
        tasks: All tasks.
        sources: Whose outcomes count, the first that has one.
        chooser: Whose records are kept.
    """

    def __init__(self, data: DataFolder, tasks: TaskSet, sources: Sequence[str], chooser: Chooser) -> None:
        self.chooser = chooser
        self._catalogue, self._labels = Catalogue(data), LabelStore(data)
        self._tasks, self._sources = tasks, sources
        self._read = -REFRESH_PERIOD
        self.refresh()

    def refresh(self) -> None:
        """Read what is known, unless that was done a moment ago.

        Raises:
            MtoptError: An index is damaged.
        """
        now = time.monotonic()
        if now - self._read < REFRESH_PERIOD:
            return
        window = self.chooser.curriculum.parity.window
        self.chooser.learn(read_practice(self._catalogue, self._labels, self._tasks, self._sources, window))
        self._read = now

    def of_tasks(self, chances: Mapping[str, float], have_learned: bool) -> list[TaskPractice]:
        """Return how far every task has come.

        Args:
            chances: Of each to be the next of its skill.
            have_learned: Whether there is a learned policy at all.
        """
        chooser = self.chooser
        return [
            TaskPractice(
                task,
                chance,
                task in chooser.at_parity,
                chooser.shares(task, have_learned),
                chooser.records.get(task, Record()),
            )
            for task, chance in chances.items()
        ]

    def close(self) -> None:
        """Close the label store."""
        self._labels.close()


def read_practice(
    catalogue: Catalogue, labels: LabelStore, tasks: TaskSet, sources: Sequence[str], window: int
) -> dict[str, Record]:
    """Return every attempted task's record.

    Args:
        catalogue: Refreshed by whoever collects.
        labels: Outcomes.
        tasks: The tasks.
        sources: Whose outcomes count, the first that has one.
        window: Newest graded episodes of each side that count.

    Raises:
        MtoptError: An index is damaged.
    """
    attempts = catalogue.attempts()
    last: dict[str, str] = {}
    for (name, _), (_, episode) in attempts.items():
        task_now = tasks.current_name(name)
        last[task_now] = max(episode, last.get(task_now, ''))
    records = {}
    for task in tasks.attempted:
        names = (task.name, *task.formerly)
        own = {place: found for place, found in attempts.items() if place[0] in names}
        others = {policy for _, policy in own if policy != LEARNED}
        records[task.name] = Record(
            attempts=sum(count for count, _ in own.values()),
            idle=sum(other > last.get(task.name, '') for other in last.values()),
            learned=_solved(catalogue, labels, names, (LEARNED,), sources, window),
            others=_solved(catalogue, labels, names, others, sources, window),
        )
    return records


def _solved(
    catalogue: Catalogue,
    labels: LabelStore,
    names: Sequence[str],
    policies: Iterable[str],
    sources: Sequence[str],
    window: int,
) -> tuple[int, int]:
    """Return graded episodes among the newest, and those solved; unsure ones count for neither."""
    newest = [episode for name in names for episode in catalogue.newest(name, tuple(policies), window)]
    verdicts = [
        outcomes[names[0]].verdict
        for episode in sorted(newest, reverse=True)[:window]
        if names[0] in (outcomes := labels.outcomes(episode, sources))
    ]
    graded = [verdict for verdict in verdicts if verdict is not Verdict.UNSURE]
    return len(graded), sum(verdict is Verdict.SUCCESS for verdict in graded)

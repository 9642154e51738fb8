"""Log replay: "task episodes from disk are continuously loaded by LogReplay job" (paper Fig. 11).

Reads every bag once into the episode store and joins the episodes with the outcomes in the label store, which change
whenever somebody labels an image or a new success detector grades old episodes.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from mtopt_core.bag import set_aside
from mtopt_core.child_processes import worker_pool
from mtopt_core.episode import Verdict
from mtopt_core.episode_bag import episode_ids
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.impersonation import LoggedEpisodes
from mtopt_policy.learner.outcomes import Outcomes
from mtopt_policy.learner.transitions import EpisodeTransitions, StoreLayout, Unreadable, read_transitions

HELD_OUT = 20
"""One episode in so many is never trained on; by its id, so that it stays held out whatever is collected later."""

AT_ONCE = 256
"""Episodes read between two commits to the store."""

WORTH_A_WORKER = 500
"""Episodes from which a further process, two seconds to start, pays."""


@dataclass(frozen=True)
class Replay:
    """The episodes that can be learned from, and how many cannot.

    Attributes:
        training: Episodes for the task buffers.
        held_out: Episodes to judge the Q-function by.
        left_out: Number of episodes by the reason why they are in neither.
    """

    training: LoggedEpisodes
    held_out: LoggedEpisodes
    left_out: Counter[str]

    @classmethod
    def empty(cls, tasks: int) -> Replay:
        """Return what there is before anything is read, for so many tasks."""
        none = LoggedEpisodes(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, tasks), np.int8))
        return cls(none, none, Counter())


class LogReplay:
    """Reads a folder of collected data.

    Args:
        data: Where bags and outcomes are.
        tasks: The tasks to learn.
        sources: Whose outcomes count, the first that has one wins (`human`, `detector`, `simulator`).
        layout: What is kept of a transition.
    """

    def __init__(self, data: DataFolder, tasks: TaskSet, sources: Sequence[str], layout: StoreLayout) -> None:
        self.store = EpisodeStore(data.root / 'replay' / layout.key, layout)
        self._data = data
        self._tasks = tasks
        self._outcomes = Outcomes(data, self.store.folder, tasks, sources)
        self._present = np.zeros(len(self.store.index), bool)
        self._held_out = np.empty(0, bool)
        self._unreachable = 0
        self._joined: np.ndarray | None = None

    def read(self, progress: Report = silent) -> int:
        """Read new bags into the store; damaged ones are set aside with the reason.

        Args:
            progress: Told how many of the new bags have been read.

        Returns:
            How many were new; those that cannot be read now will be so again.

        Raises:
            BagError: A damaged bag cannot be set aside.
        """
        with self.store.locked():
            index, ids = self.store.index, np.array([name.encode() for name in episode_ids(self._data.bags)], 'S')
            places = index.places_of(ids)
            held = np.zeros(len(index), bool)
            held[places[places >= 0]] = True
            new = [self._data.bags / name.decode() for name in ids[places < 0]]
            self._unreachable = 0
            with _readers(min(os.cpu_count() or 1, len(new) // WORTH_A_WORKER)) as read:
                for start in range(0, len(new), AT_ONCE):
                    progress(start, len(new))
                    self._store(read(partial(read_transitions, layout=self.store.layout), new[start : start + AT_ONCE]))
            progress(len(new), len(new))
            self._present = np.concatenate([held, np.ones(len(index) - len(held), bool)])
        return len(new)

    def _store(self, results: Iterable[EpisodeTransitions | Unreadable | None]) -> None:
        episodes = []
        for result in results:
            if isinstance(result, Unreadable):
                # Another process may have set it aside, or removed it, at the same time.
                with suppress(FileNotFoundError):
                    set_aside(result.path, result.reason)
            elif result is None:
                self._unreachable += 1
            else:
                episodes.append(result)
        self.store.append(episodes)

    def changed(self) -> bool:
        """Return whether `replay` would return something else than it did last: bags or outcomes came or went.

        Raises:
            LabelError: The label store is damaged.
        """
        same = self._joined is not None and np.array_equal(self._joined, self._present)
        return not same or self._outcomes.changed()

    def replay(self) -> Replay:
        """Join the episodes read with their present outcomes.

        Raises:
            LabelError: A source is unknown or the label store is damaged.
        """
        index = self.store.index
        outcomes = self._outcomes.of(index)
        usable, left_out = np.ones(len(index), bool), Counter[str]()
        for reason, applies in self._reasons(outcomes):
            if number := int(np.sum(usable & applies)):
                left_out[reason] = number
                usable &= ~applies
        if self._unreachable:
            left_out['its bag cannot be read now'] = self._unreachable
        self._joined = self._present
        self._held_out = np.concatenate([self._held_out, held_out(index.ids[len(self._held_out) :])])
        return Replay(
            self._logged(usable & ~self._held_out, outcomes),
            self._logged(usable & self._held_out, outcomes),
            left_out,
        )

    def _reasons(self, outcomes: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield why episodes are left out, and which, `(E,) bool`; of several reasons the first counts."""
        index = self.store.index
        for reason, number in index.reasons.items():
            if reason:
                yield reason, index.unusable == number
        yield 'its bag is gone', ~self._present
        for task, number in index.task_names.items():
            if self._tasks.current_name(task) not in self._tasks.names:
                yield f'its task {task} is not in the task set', index.tasks == number
        yield 'no outcome is known', (outcomes == Verdict.UNSURE).all(axis=1)

    def _logged(self, chosen: np.ndarray, outcomes: np.ndarray) -> LoggedEpisodes:
        index, names = self.store.index, self._tasks.names
        attempted = [self._tasks.current_name(name) for name in index.task_names]
        # An episode of a task that is not in the set is never chosen.
        tasks = np.array([names.index(name) if name in names else -1 for name in attempted], np.int64)
        places = np.flatnonzero(chosen)
        return LoggedEpisodes(places, tasks[index.tasks[places]], outcomes[places])


def held_out(ids: np.ndarray) -> np.ndarray:
    """Return which episodes serve to judge the Q-function and are never trained on: `(N,) bytes` to `(N,) bool`."""
    hashes = np.array([zlib.crc32(episode_id) for episode_id in ids.tolist()], np.int64)
    return hashes % HELD_OUT == 0


@contextmanager
def _readers(workers: int) -> Iterator[Callable[..., Iterable[EpisodeTransitions | Unreadable | None]]]:
    """Yield a `map` over worker processes, or over this one when there is too little to read for more."""
    if workers < 2:
        yield map
        return
    with worker_pool(workers) as pool:
        yield partial(pool.map, chunksize=8)

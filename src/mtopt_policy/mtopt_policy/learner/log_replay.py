"""Log replay: "task episodes from disk are continuously loaded by LogReplay job" (paper Fig. 11).

Reads every bag once into the episode store and joins the episodes with the outcomes in the label store, which change
whenever somebody labels an image or a new success detector grades old episodes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from mtopt_core.bag import set_aside
from mtopt_core.episode import Verdict
from mtopt_core.episode_bag import episode_ids
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.impersonation import LoggedEpisode
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

    training: list[LoggedEpisode] = field(default_factory=list)
    held_out: list[LoggedEpisode] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


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
        self._sources = tuple(sources)

    def read(self, progress: Report = silent) -> int:
        """Read new bags into the store; those that cannot be read are set aside with the reason.

        Args:
            progress: Told how many of the new bags have been read.

        Returns:
            How many were read.

        Raises:
            BagError: A bag that cannot be read cannot be set aside either.
        """
        with self.store.locked():
            held = {episode.episode_id for episode in self.store.episodes}
            new = [self._data.bags / name for name in episode_ids(self._data.bags) if name not in held]
            with _readers(min(os.cpu_count() or 1, len(new) // WORTH_A_WORKER)) as read:
                for start in range(0, len(new), AT_ONCE):
                    progress(start, len(new))
                    self._store(read(partial(read_transitions, layout=self.store.layout), new[start : start + AT_ONCE]))
            progress(len(new), len(new))
        return len(new)

    def _store(self, results: Iterable[EpisodeTransitions | Unreadable]) -> None:
        episodes = []
        for result in results:
            if isinstance(result, Unreadable):
                # Another process may have set it aside, or removed it, at the same time.
                with suppress(FileNotFoundError):
                    set_aside(result.path, result.reason)
            else:
                episodes.append(result)
        self.store.append(episodes)

    def replay(self) -> Replay:
        """Join the stored episodes with their present outcomes."""
        with closing(LabelStore(self._data)) as labels:
            outcomes = labels.all_outcomes(self._sources)
        present = set(episode_ids(self._data.bags))
        replay = Replay()
        for index, episode in enumerate(self.store.episodes):
            known = {
                task: outcome.verdict == Verdict.SUCCESS
                for task, outcome in outcomes.get(episode.episode_id, {}).items()
                if outcome.verdict != Verdict.UNSURE
            }
            if episode.unusable:
                replay.left_out[episode.unusable] += 1
            elif episode.episode_id not in present:
                replay.left_out['its bag is gone'] += 1
            elif episode.task not in self._tasks.names:
                replay.left_out[f'its task {episode.task} is not in the task set'] += 1
            elif not known:
                replay.left_out['no outcome is known'] += 1
            else:
                part = replay.held_out if is_held_out(episode.episode_id) else replay.training
                part.append(LoggedEpisode(index, episode.task, known))
        return replay


def is_held_out(episode_id: str) -> bool:
    """Return whether an episode serves to judge the Q-function and is never trained on."""
    return zlib.crc32(episode_id.encode()) % HELD_OUT == 0


@contextmanager
def _readers(workers: int) -> Iterator[Callable[..., Iterable[EpisodeTransitions | Unreadable]]]:
    """Yield a `map` over worker processes, or over this one when there is too little to read for more."""
    if workers < 2:
        yield map
        return
    # Forked children of a process with threads (torch, ROS) can hang; spawned ones cannot.
    with ProcessPoolExecutor(
        workers,
        multiprocessing.get_context('spawn'),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        yield partial(pool.map, chunksize=8)

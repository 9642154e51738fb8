"""What episodes are for each task, from the label store: where the learner's rewards come from (paper section V).

Reading the outcomes of a million episodes takes longer than a training should take to start. They are therefore kept
beside the episode store, as of some grading, and only those of episodes that are new or were graded since are read:

    <episode store>/outcomes-<key>.npz    outcomes, last_grading; key: sources and tasks
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import TaskSet
from mtopt_core.verdict_query import NOT_JUDGED
from mtopt_policy.learner.episode_index import EpisodeIndex

FEW = 0.1
"""Share of the episodes up to which looking each one up is faster than reading the whole label store."""


class Outcomes:
    """The outcomes of the episodes of a store.

    Args:
        data: Where the label store is.
        folder: The episode store's.
        tasks: The tasks; outcomes of others are not looked at.
        sources: Whose outcomes count, the first that has one wins.
    """

    def __init__(self, data: DataFolder, folder: Path, tasks: TaskSet, sources: Sequence[str]) -> None:
        self._data = data
        self._tasks = tasks
        self._sources = tuple(sources)
        key = hashlib.sha256(json.dumps([self._sources, tasks.names]).encode()).hexdigest()[:12]
        self._file = folder / f'outcomes-{key}.npz'
        self._outcomes, self._last_grading = self._load()

    def changed(self) -> bool:
        """Return whether anything was graded since `of` was called last.

        Raises:
            LabelError: The label store is damaged.
        """
        with closing(LabelStore(self._data)) as labels:
            return labels.last_grading() != self._last_grading

    def of(self, index: EpisodeIndex) -> np.ndarray:
        """Return the outcomes that count, `(E, T) int8` of `Verdict`; `UNSURE` also where nobody judged.

        Args:
            index: The store's episodes.

        Raises:
            LabelError: A source is unknown or the label store is damaged.
        """
        with closing(LabelStore(self._data)) as labels:
            last = labels.last_grading()
            stale = self._stale(labels, index)
            known = self._outcomes[: len(index)]
            outcomes = np.concatenate([known, self._unsure(len(index) - len(known))])
            outcomes[stale] = Verdict.UNSURE
            ids = None if len(stale) > FEW * len(index) else index.ids[stale]
            # The source that counts most comes last and replaces the others' verdicts.
            for source in reversed(self._sources):
                found, verdicts = labels.verdicts(source, self._tasks.names, ids)
                places = index.places_of(found)
                places, verdicts = places[places >= 0], verdicts[places >= 0]
                outcomes[places] = np.where(verdicts == NOT_JUDGED, outcomes[places], verdicts)
        self._outcomes, self._last_grading = outcomes, last
        if len(stale):
            self._save()
        return outcomes

    def _stale(self, labels: LabelStore, index: EpisodeIndex) -> np.ndarray:
        """Return the places of episodes whose outcomes are not known or not up to date."""
        graded, known = labels.graded_since(self._last_grading), len(self._outcomes)
        if graded is None or known > len(index):
            return np.arange(len(index))
        again = index.places_of(graded)
        return np.union1d(again[again >= 0], np.arange(known, len(index)))

    def _unsure(self, episodes: int) -> np.ndarray:
        return np.full((episodes, len(self._tasks)), Verdict.UNSURE, np.int8)

    def _load(self) -> tuple[np.ndarray, int]:
        try:
            with np.load(self._file) as kept:
                return kept['outcomes'], int(kept['last_grading'])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            # None yet, or damaged: they are read anew from the label store.
            return self._unsure(0), 0

    def _save(self) -> None:
        temporary = self._file.with_suffix(f'.{os.getpid()}')
        try:
            with temporary.open('wb') as file:
                np.savez(file, outcomes=self._outcomes, last_grading=self._last_grading)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._file)
        except OSError:
            # A full disk costs the next start some seconds, not this training.
            temporary.unlink(missing_ok=True)

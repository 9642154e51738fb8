"""The episode store's index: one line of JSON per episode on disk, one column per field in memory.

Columns, because a million episodes are planned for: as objects they would take a gigabyte and the start a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np


class EpisodeIndex:
    """Which episodes the store holds, in the order of reading.

    Attributes:
        ids: Episode ids as UTF-8, `(E,) bytes`.
        tasks: Number in `task_names` of the task each was collected for, `(E,) int32`.
        task_names: Numbers of the tasks that episodes were collected for.
        unusable: Number in `reasons` of why an episode cannot be used, 0 for one that can, `(E,) int32`.
        reasons: Numbers of the reasons.
        starts: First row of each episode, and the row after the last one's, `(E + 1,) int64`.
    """

    def __init__(self) -> None:
        self.ids = np.empty(0, 'S1')
        self.tasks = np.empty(0, np.int32)
        self.task_names: dict[str, int] = {}
        self.unusable = np.empty(0, np.int32)
        self.reasons = {'': 0}
        self.starts = np.zeros(1, np.int64)
        self._sorted = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.ids)

    def places_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the places of episodes: `(N,) bytes` to `(N,) int64`, -1 for those it does not hold."""
        if not len(self):
            return np.full(len(ids), -1)
        candidates = self._sorted[np.searchsorted(self.ids, ids, sorter=self._sorted).clip(max=len(self) - 1)]
        return np.where(self.ids[candidates] == ids, candidates, -1)

    def extend(self, chunks: Iterable[Sequence[bytes]]) -> None:
        """Take in lines of the index' file, in chunks of which one at a time is held as objects."""
        columns = [(self.ids, self.tasks, self.unusable, np.diff(self.starts))]
        for chunk in chunks:
            lines = json.loads(b'[' + b','.join(chunk) + b']')
            columns.append(
                (
                    np.array([line['episode_id'].encode() for line in lines], 'S'),
                    _numbers([line['task'] for line in lines], self.task_names),
                    _numbers([line['unusable'] for line in lines], self.reasons),
                    np.array([line['transitions'] for line in lines], np.int64),
                )
            )
        if len(columns) > 1:
            self.ids, self.tasks, self.unusable, lengths = map(np.concatenate, zip(*columns, strict=True))
            self.starts = np.concatenate([[0], np.cumsum(lengths)])
            self._sorted = np.argsort(self.ids, kind='stable')


def line(episode_id: str, task: str, transitions: int, unusable: str) -> str:
    """Return an episode's line in the index' file: with no transitions it says why it is unusable."""
    fields = {'episode_id': episode_id, 'task': task, 'transitions': transitions, 'unusable': unusable}
    return json.dumps(fields) + '\n'


def _numbers(names: list[str], known: dict[str, int]) -> np.ndarray:
    """Return the numbers of names, `(N,) int32`; new ones get the next."""
    for name in dict.fromkeys(names):
        known.setdefault(name, len(known))
    return np.array([known[name] for name in names], np.int32)

"""The episode store: every episode's transitions once, memory mapped, at the resolution the network sees.

It is derived from the bags and can be deleted at any time; a restart reads only the bags it does not hold yet.

    <folder>/layout.json         what a transition looks like
    <folder>/episodes.jsonl      one line per episode, appended after its transitions are on disk
    <folder>/00000/records       action, state, decisions remaining, places of the images
    <folder>/00000/images        their images, one after another
    <folder>/00001/...           the next `StoreLayout.shard_rows` transitions

A row is a transition's place in the store; those of an episode follow one another.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mtopt_policy.learner.transitions import EpisodeTransitions, StoreLayout


@dataclass(frozen=True)
class StoredEpisode:
    """One line of the index.

    Attributes:
        episode_id: Its id.
        task: Task it was collected for.
        transitions: How many it has; none when it cannot be used.
        unusable: Why not.
    """

    episode_id: str
    task: str
    transitions: int
    unusable: str


@dataclass(frozen=True)
class _Shard:
    records: np.ndarray
    images: np.ndarray


class EpisodeStore:
    """Transitions of episodes of one layout in a folder, which is made when missing.

    Several processes may use one folder: whoever appends does so within `locked`, the others see it when they next
    are. Arrays once returned stay valid.

    Attributes:
        layout: What a transition looks like.
        episodes: What it holds, in the order of reading.
    """

    def __init__(self, folder: Path, layout: StoreLayout) -> None:
        self.layout = layout
        self.episodes: list[StoredEpisode] = []
        self._folder = folder
        self._index = folder / 'episodes.jsonl'
        self._index_bytes = 0
        self._starts = [0]
        self._shards: list[_Shard] = []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'layout.json').write_text(layout.model_dump_json(indent=1))
        with self.locked():
            pass

    @property
    def rows(self) -> int:
        """Number of transitions held."""
        return self._starts[-1]

    def rows_of(self, episode: int) -> range:
        """Return the rows of the episode at a place in `episodes`."""
        return range(self._starts[episode], self._starts[episode + 1])

    def sample_rows(
        self, episodes: np.ndarray, rng: np.random.Generator, terminal_share: float | None = None
    ) -> np.ndarray:
        """Draw one transition of each episode: `(B,) int` places in `episodes` to `(B,) int64` rows.

        Args:
            episodes: Places in `episodes`.
            rng: Source of the draw.
            terminal_share: Probability of an episode's last transition; none draws uniformly. The others share the
                rest. An episode of one transition has no other.
        """
        spans = [self.rows_of(episode) for episode in episodes]
        first, length = np.array([(span.start, len(span)) for span in spans]).T
        if terminal_share is None:
            return first + rng.integers(length)
        last = (rng.random(len(spans)) < terminal_share) | (length == 1)
        return first + np.where(last, length - 1, rng.integers(np.maximum(length - 1, 1)))

    def records(self, rows: np.ndarray) -> np.ndarray:
        """Return the fixed part of transitions: `(B,) int` rows to `(B,)` of `StoreLayout.record`."""
        gathered = np.empty(len(rows), self.layout.record)
        shards, places = np.divmod(rows, self.layout.shard_rows)
        for shard in np.unique(shards):
            here = shards == shard
            gathered[here] = self._shards[shard].records[places[here]]
        return gathered

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of transitions' states: `(B,) int` rows to `(V, B, S, S, 3) uint8`, RGB."""
        size = self.layout.image_size
        gathered = np.empty((len(self.layout.views), len(rows), size, size, 3), np.uint8)
        offsets = self.records(rows)['images']
        for place, shard in enumerate(rows // self.layout.shard_rows):
            stored = self._shards[shard].images
            for view, (start, end) in enumerate(pairwise(offsets[place])):
                gathered[view, place] = self.layout.unpack(stored[start:end])
        return gathered

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from appending, having caught up with what they appended before."""
        with (self._folder / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._catch_up()
            yield

    def append(self, episodes: Sequence[EpisodeTransitions]) -> None:
        """Add episodes; to be called within `locked`. An episode whose index line is whole is whole on disk."""
        self._cut_leftovers()
        row = self.rows
        for episode in episodes:
            records = episode.records
            while len(records):
                shard, place = divmod(row, self.layout.shard_rows)
                part, records = np.split(records, [self.layout.shard_rows - place])
                _append(self._shard_folder(shard), part, episode.images)
                row += len(part)
        for shard in range(self.rows // self.layout.shard_rows, -(-row // self.layout.shard_rows)):
            _sync(self._shard_folder(shard) / 'images')
            _sync(self._shard_folder(shard) / 'records')
        with self._index.open('a') as index:
            for episode in episodes:
                line = StoredEpisode(episode.episode_id, episode.task, len(episode.records), episode.unusable)
                index.write(json.dumps(asdict(line)) + '\n')
        _sync(self._index)
        self._catch_up()

    def _shard_folder(self, shard: int) -> Path:
        return self._folder / f'{shard:05d}'

    def _catch_up(self) -> None:
        """Take in the lines the index has gained; a last one that a crash tore is cut off."""
        with self._index.open('a+b') as index:
            index.seek(self._index_bytes)
            whole_lines = index.read().rpartition(b'\n')[0].splitlines()
            self._index_bytes += sum(len(line) + 1 for line in whole_lines)
            index.truncate(self._index_bytes)
        for line in whole_lines:
            episode = StoredEpisode(**json.loads(line))
            self.episodes.append(episode)
            self._starts.append(self.rows + episode.transitions)
        held = sum(len(shard.records) for shard in self._shards)
        if held < self.rows:
            first = held // self.layout.shard_rows
            self._shards[first:] = [self._map(shard) for shard in range(first, -(-self.rows // self.layout.shard_rows))]

    def _map(self, shard: int) -> _Shard:
        folder = self._shard_folder(shard)
        rows = min(self.rows - shard * self.layout.shard_rows, self.layout.shard_rows)
        records = np.memmap(folder / 'records', self.layout.record, 'r', shape=rows).view(np.ndarray)
        images = np.memmap(folder / 'images', np.uint8, 'r', shape=int(records[-1]['images'][-1])).view(np.ndarray)
        return _Shard(records, images)

    def _cut_leftovers(self) -> None:
        """Cut off transitions that a crash left without a line in the index."""
        shard, rows = divmod(self.rows, self.layout.shard_rows)
        pixels = len(self._shards[shard].images) if rows else 0
        while (folder := self._shard_folder(shard)).exists():
            for name, size in (('images', pixels), ('records', rows * self.layout.record.itemsize)):
                with (folder / name).open('ab') as file:
                    file.truncate(size)
            shard, rows, pixels = shard + 1, 0, 0


def _append(folder: Path, records: np.ndarray, images: bytes) -> None:
    """Append transitions to a shard; their offsets are into `images`."""
    folder.mkdir(exist_ok=True)
    first, last = records[0]['images'][0], records[-1]['images'][-1]
    with (folder / 'images').open('ab') as file:
        shifted = records.copy()
        shifted['images'] += file.tell() - first
        file.write(memoryview(images)[first:last])
    with (folder / 'records').open('ab') as file:
        file.write(shifted.tobytes())


def _sync(path: Path) -> None:
    with path.open('rb') as file:
        os.fsync(file.fileno())

"""The episode store: every episode's transitions once, memory mapped, at the resolution the network sees.

It is derived from the bags and can be deleted at any time; a restart reads only the bags it does not hold yet.

    <folder>/layout.json         what a transition looks like
    <folder>/identity            changes when the store is made anew, and rows with it
    <folder>/episodes.jsonl      one line per episode, appended after its transitions are on disk
    <folder>/00000/records       action, state, decisions remaining, places of the images
    <folder>/00000/images        their images, one after another
    <folder>/00001/...           the next `StoreLayout.shard_rows` transitions

A row is a transition's place in the store; those of an episode follow one another.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mtopt_policy.learner.episode_index import EpisodeIndex, line
from mtopt_policy.learner.transitions import EpisodeTransitions, StoreLayout

CHUNK = 1 << 22
"""Bytes of the index parsed at a time."""

BLOCK = 512
"""Unit of `st_blocks`, bytes (stat(2))."""


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
        index: Which episodes it holds.
        identity: Two stores that have it in common have the same rows.
        folder: Where it is.
    """

    def __init__(self, folder: Path, layout: StoreLayout) -> None:
        self.layout = layout
        self.index = EpisodeIndex()
        self.folder = folder
        self._file = folder / 'episodes.jsonl'
        self._bytes_read = 0
        self._shards: list[_Shard] = []
        folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            self.identity = self._identity()

    @property
    def rows(self) -> int:
        """Number of transitions held."""
        return int(self.index.starts[-1])

    @property
    def bytes_on_disk(self) -> int:
        """What its files take on the disk."""
        return sum(path.stat().st_blocks for path in self.folder.rglob('*')) * BLOCK

    def rows_of(self, episode: int) -> range:
        """Return the rows of the episode at a place in the index."""
        return range(*self.index.starts[episode : episode + 2])

    def episodes_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the episodes that transitions are of: `(B,) int` rows to `(B,) int64` places in the index."""
        return np.searchsorted(self.index.starts, rows, side='right') - 1

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the ids of the episodes that transitions are of: `(B,) int` rows to `(B,) bytes`."""
        return self.index.ids[self.episodes_of(rows)]

    def last_rows(self, episodes: np.ndarray) -> np.ndarray:
        """Return each episode's last transition: `(B,) int` places in the index to `(B,) int64` rows."""
        return self.index.starts[episodes + 1] - 1

    def sample_rows(
        self, episodes: np.ndarray, rng: np.random.Generator, terminal_share: float | None = None
    ) -> np.ndarray:
        """Draw one transition of each episode: `(B,) int` places in the index to `(B,) int64` rows.

        Args:
            episodes: Places in the index.
            rng: Source of the draw.
            terminal_share: Probability of an episode's last transition; none draws uniformly. The others share the
                rest. An episode of one transition has no other.
        """
        first, end = self.index.starts[episodes], self.index.starts[episodes + 1]
        if terminal_share is None:
            return rng.integers(first, end)
        last = (rng.random(len(episodes)) < terminal_share) | (end - first == 1)
        return np.where(last, end - 1, rng.integers(first, np.maximum(end - 1, first + 1)))

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
        with (self.folder / 'lock').open('w') as lock:
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
        with self._file.open('a') as file:
            for episode in episodes:
                file.write(line(episode.episode_id, episode.task, len(episode.records), episode.unusable))
        _sync(self._file)
        self._catch_up()

    def _shard_folder(self, shard: int) -> Path:
        return self.folder / f'{shard:05d}'

    def _catch_up(self) -> None:
        """Take in the lines the index has gained; a last one that a crash tore is cut off."""
        with self._file.open('a+b') as file:
            file.seek(self._bytes_read)
            self.index.extend(self._whole_lines(file))
            file.truncate(self._bytes_read)
        held = sum(len(shard.records) for shard in self._shards)
        if held < self.rows:
            first = held // self.layout.shard_rows
            self._shards[first:] = [self._map(shard) for shard in range(first, -(-self.rows // self.layout.shard_rows))]

    def _identity(self) -> str:
        file = self.folder / 'identity'
        # A crash can leave it empty.
        if not file.exists() or not file.read_text():
            (self.folder / 'layout.json').write_text(self.layout.model_dump_json(indent=1))
            file.write_text(secrets.token_hex(8))
        return file.read_text()

    def _whole_lines(self, file: BinaryIO) -> Iterator[list[bytes]]:
        while lines := file.readlines(CHUNK):
            if not lines[-1].endswith(b'\n'):
                lines.pop()
            self._bytes_read += sum(map(len, lines))
            yield lines

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

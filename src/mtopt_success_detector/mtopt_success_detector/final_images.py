"""The final images of episodes, once, at the size the detector sees: training again reads no bag.

It is derived from the bags and can be deleted at any time; a restart reads only the bags it does not hold yet.

    <folder>/index.jsonl   one line per episode, appended after its images are on the disk
    <folder>/images        the images, one after another: pixels, or JPEG where pixels would take too much room
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mtopt_core.bag import set_aside
from mtopt_core.episode_bag import read_final
from mtopt_core.errors import BagError, ImageError
from mtopt_core.images import decode_jpeg, decode_square, encode_jpeg
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent

RAW_UP_TO = 128
"""Side of images kept as pixels, px: 37 kB an episode at 64 px, but 2 MB at 472."""
JPEG_QUALITY = 95
EPISODES_PER_APPEND = 256


@dataclass(frozen=True)
class _Entry:
    """One line of the index.

    Attributes:
        episode_id: Its id.
        start: Where its images start, bytes.
        lengths: Bytes of each view's image, 0 where the episode lacks the view.
    """

    episode_id: str
    start: int
    lengths: tuple[int, ...]


class FinalImages:
    """Final images of a data folder's episodes, for some views and one size.

    Several processes may use one folder; who appends holds its lock.

    Attributes:
        views: Names of the cameras, in the order of the images.
        image_size: Side of the square images, px.
    """

    def __init__(self, data: DataFolder, views: Sequence[str], image_size: int) -> None:
        self.views = tuple(views)
        self.image_size = image_size
        self._folder = data.root / 'final_images' / f'{"+".join(views)}_{image_size}'
        self._folder.mkdir(parents=True, exist_ok=True)
        self._entries: dict[str, _Entry] = {}
        self._index_bytes = 0
        self._pixels = np.empty(0, np.uint8)
        with self._locked():
            pass

    def read(self, bags: Mapping[str, Path], report: Report = silent) -> None:
        """Read what is new among some bags; those that cannot be read are set aside with the reason.

        Args:
            bags: Bag by episode id.
            report: Told how many of the new bags have been read.
        """
        # Decoding, which is most of it, does not hold Python's lock.
        with self._locked(), ThreadPoolExecutor(os.cpu_count()) as pool:
            new = [episode_id for episode_id in bags if episode_id not in self._entries]
            for first in range(0, len(new), EPISODES_PER_APPEND):
                report(first, len(new))
                some = new[first : first + EPISODES_PER_APPEND]
                packed = pool.map(self._final_images, (bags[name] for name in some))
                self._append(dict(zip(some, packed, strict=True)))
            report(len(new), len(new))

    def present(self, episode_ids: Sequence[str]) -> np.ndarray:
        """Return which views episodes have, `(N, V) bool`; none for an episode that was never read."""
        absent = (0,) * len(self.views)
        entries = (self._entries.get(episode_id) for episode_id in episode_ids)
        lengths = [entry.lengths if entry else absent for entry in entries]
        return np.array(lengths, np.int64).reshape(-1, len(self.views)) > 0

    def images(self, episode_ids: Sequence[str]) -> np.ndarray:
        """Return episodes' final images, `(N, V, S, S, 3) uint8` RGB, black where a view is missing."""
        size = self.image_size
        images = np.zeros((len(episode_ids), len(self.views), size, size, 3), np.uint8)
        for n, episode_id in enumerate(episode_ids):
            entry = self._entries[episode_id]
            start = entry.start
            for v, length in enumerate(entry.lengths):
                if length:
                    images[n, v] = self._unpack(self._pixels[start : start + length])
                start += length
        return images

    def _final_images(self, bag: Path) -> list[bytes]:
        """Return the packed final image of each view, empty where there is none that can be used."""
        try:
            jpegs = read_final(bag).images
            return [self._pack(jpegs[view]) if view in jpegs else b'' for view in self.views]
        except (BagError, ImageError) as error:
            set_aside(bag, str(error))
            return [b''] * len(self.views)

    def _pack(self, jpeg: bytes) -> bytes:
        rgb = decode_square(jpeg, self.image_size)
        return rgb.tobytes() if self.image_size <= RAW_UP_TO else encode_jpeg(rgb, JPEG_QUALITY)

    def _unpack(self, stored: np.ndarray) -> np.ndarray:
        if self.image_size <= RAW_UP_TO:
            return stored.reshape(self.image_size, self.image_size, 3)
        return decode_jpeg(stored.tobytes())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from appending, having caught up with what they appended before."""
        with (self._folder / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._catch_up()
            yield

    def _append(self, episodes: Mapping[str, list[bytes]]) -> None:
        lines = []
        with (self._folder / 'images').open('ab') as file:
            for episode_id, packed in episodes.items():
                lines.append(_Entry(episode_id, file.tell(), tuple(map(len, packed))))
                file.write(b''.join(packed))
            file.flush()
            os.fsync(file.fileno())
        with (self._folder / 'index.jsonl').open('a') as index:
            index.writelines(json.dumps(asdict(line)) + '\n' for line in lines)
        self._catch_up()

    def _catch_up(self) -> None:
        """Take in the lines the index has gained, and cut off one that a crash left unfinished."""
        with (self._folder / 'index.jsonl').open('a+b') as index:
            index.seek(self._index_bytes)
            lines = index.read().rpartition(b'\n')[0].splitlines()
            self._index_bytes += sum(len(line) + 1 for line in lines)
            index.truncate(self._index_bytes)
        end = 0
        for line in lines:
            fields = json.loads(line)
            entry = _Entry(fields['episode_id'], fields['start'], tuple(fields['lengths']))
            self._entries[entry.episode_id] = entry
            end = entry.start + sum(entry.lengths)
        if end > len(self._pixels):
            self._pixels = np.memmap(self._folder / 'images', np.uint8, 'r', shape=end).view(np.ndarray)

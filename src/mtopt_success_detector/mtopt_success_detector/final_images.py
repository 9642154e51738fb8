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
from math import prod
from pathlib import Path

import numpy as np

from mtopt_core.bag import set_aside
from mtopt_core.episode_bag import read_final
from mtopt_core.errors import BagError, BagUnreachableError, ImageError
from mtopt_core.images import decode_jpeg, encode_jpeg
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_success_detector.looks import Looks

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
        lengths: Bytes of each image, look by look and view by view, 0 where the episode lacks it.
    """

    episode_id: str
    start: int
    lengths: tuple[int, ...]


class FinalImages:
    """Final images of a data folder's episodes, as a detector looks at them.

    Several processes may use one folder; who appends holds its lock.

    Attributes:
        looks: What is kept of each.
    """

    def __init__(self, data: DataFolder, looks: Looks) -> None:
        self.looks = looks
        self._folder = data.root / 'final_images' / looks.key
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
                packed = zip(some, pool.map(self._final_images, (bags[name] for name in some)), strict=True)
                self._append({name: images for name, images in packed if images is not None})
            report(len(new), len(new))

    def present(self, episode_ids: Sequence[str]) -> np.ndarray:
        """Return which images episodes have, `(N, L, V) bool`; none for an episode that was never read."""
        absent = (0,) * prod(self.looks.shape)
        entries = (self._entries.get(episode_id) for episode_id in episode_ids)
        lengths = [entry.lengths if entry else absent for entry in entries]
        return np.array(lengths, np.int64).reshape(-1, *self.looks.shape) > 0

    def images(self, episode_ids: Sequence[str]) -> np.ndarray:
        """Return episodes' final images, `(N, L, V, S, S, 3) uint8` RGB, black where one is missing."""
        size = self.looks.image_size
        images = np.zeros((len(episode_ids), prod(self.looks.shape), size, size, 3), np.uint8)
        for n, episode_id in enumerate(episode_ids):
            entry = self._entries[episode_id]
            start = entry.start
            for place, length in enumerate(entry.lengths):
                if length:
                    images[n, place] = self._unpack(self._pixels[start : start + length])
                start += length
        return images.reshape(-1, *self.looks.shape, size, size, 3)

    def _final_images(self, bag: Path) -> list[bytes] | None:
        """Return the packed final images, look by look and view by view, empty where there is none that can be used.

        None for a bag that cannot be read now, or is gone: another process has set it aside, or removed it, at the
        same time.
        """
        try:
            looks = self.looks.of(read_final(bag).images)
            return [b'' if image is None else self._pack(image) for look in looks for image in look]
        except BagUnreachableError:
            return None
        except (BagError, ImageError) as error:
            try:
                set_aside(bag, str(error))
            except FileNotFoundError:
                return None
            return [b''] * prod(self.looks.shape)

    def _pack(self, rgb: np.ndarray) -> bytes:
        return rgb.tobytes() if self.looks.image_size <= RAW_UP_TO else encode_jpeg(rgb, JPEG_QUALITY)

    def _unpack(self, stored: np.ndarray) -> np.ndarray:
        size = self.looks.image_size
        return stored.reshape(size, size, 3) if size <= RAW_UP_TO else decode_jpeg(stored.tobytes())

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

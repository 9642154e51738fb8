"""Small final pictures of episodes, made once: a grid of them opens without reading a bag.

`thumbnails.sqlite` in the data folder is derived from the bags and can be deleted at any time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mtopt_core.episode_pictures import read_pictures
from mtopt_core.errors import BagError, ImageError
from mtopt_core.images import decode_square, encode_jpeg
from mtopt_core.paths import DataFolder

SIZE = 128
"""Side, px."""
QUALITY = 75
AT_ONCE = 100

_SCHEMA = """
CREATE TABLE IF NOT EXISTS thumbnails (
    episode_id TEXT NOT NULL,
    camera TEXT NOT NULL,
    jpeg BLOB NOT NULL,
    PRIMARY KEY (episode_id, camera)
)
"""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, or why there is none.

    Attributes:
        jpeg: The picture, empty when there is none.
        trouble: Why there is none, in a few words.
    """

    jpeg: bytes = b''
    trouble: str = ''


class Thumbnails:
    """The small final pictures of a data folder; several threads and processes may share it."""

    def __init__(self, data: DataFolder) -> None:
        self._bags = data.bags
        self._path = data.root / 'thumbnails.sqlite'
        self._lock = threading.Lock()
        self._database = self._opened()

    def close(self) -> None:
        """Close the cache."""
        self._database.close()

    def get(self, episode_ids: Sequence[str], camera: str) -> dict[str, Thumbnail]:
        """Return episodes' final pictures of one camera, making those that are missing."""
        found = self._known(episode_ids, camera)
        for episode_id in episode_ids:
            if episode_id not in found:
                made = self._made(episode_id)
                self._keep(episode_id, made)
                names = ', '.join(made) or 'none'
                found[episode_id] = made.get(camera) or made.get('') or Thumbnail(trouble=f'no {camera}, only {names}')
        return found

    def make(self, episode_ids: Iterable[str]) -> None:
        """Make the pictures of episodes that have none, of all cameras."""
        wanted = list(episode_ids)
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            known = self._any_known(some)
            for episode_id in some:
                if episode_id not in known:
                    self._keep(episode_id, self._made(episode_id))

    def _made(self, episode_id: str) -> dict[str, Thumbnail]:
        """Return the pictures of one episode by camera; under no name, why there are none."""
        try:
            jpegs = read_pictures(self._bags / episode_id).final
        except BagError as error:
            gone = not (self._bags / episode_id).exists()
            return {'': Thumbnail(trouble='its bag is gone' if gone else str(error))}
        if not jpegs:
            return {'': Thumbnail(trouble='its bag has no pictures')}
        return {camera: _small(jpeg) for camera, jpeg in jpegs.items()}

    def _any_known(self, episode_ids: Sequence[str]) -> set[str]:
        """Return those of some episodes that have a picture of any camera."""
        marks = ', '.join('?' * len(episode_ids))
        query = f'SELECT DISTINCT episode_id FROM thumbnails WHERE episode_id IN ({marks})'  # noqa: S608
        with self._lock:
            try:
                return {episode_id for (episode_id,) in self._database.execute(query, episode_ids)}
            except sqlite3.DatabaseError:
                return set()

    def _known(self, episode_ids: Sequence[str], camera: str) -> dict[str, Thumbnail]:
        marks = ', '.join('?' * len(episode_ids))
        query = f'SELECT episode_id, jpeg FROM thumbnails WHERE camera = ? AND episode_id IN ({marks})'  # noqa: S608
        with self._lock:
            try:
                found = self._database.execute(query, (camera, *episode_ids)).fetchall()
            except sqlite3.DatabaseError:
                return {}
        return {episode_id: Thumbnail(jpeg) for episode_id, jpeg in found}

    def _keep(self, episode_id: str, made: dict[str, Thumbnail]) -> None:
        rows = [(episode_id, camera, one.jpeg) for camera, one in made.items() if one.jpeg]
        # A cache that cannot be written costs time, nothing else.
        with self._lock:
            try:
                with self._database:
                    self._database.executemany('INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)', rows)
            except sqlite3.DatabaseError:
                return

    def _opened(self) -> sqlite3.Connection:
        try:
            return _open(self._path)
        except sqlite3.DatabaseError:
            # Damaged, or the folder is read-only: made anew, or kept in memory.
            try:
                for suffix in ('', '-wal', '-shm'):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                return _open(self._path)
            except (sqlite3.DatabaseError, OSError):
                return _open(Path(':memory:'))


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    try:
        database.execute('PRAGMA journal_mode = WAL')
        database.execute('PRAGMA synchronous = OFF')
        database.execute(_SCHEMA)
    except sqlite3.DatabaseError:
        with closing(database):
            raise
    return database


def _small(jpeg: bytes) -> Thumbnail:
    try:
        return Thumbnail(encode_jpeg(decode_square(jpeg, SIZE), QUALITY))
    except ImageError as error:
        return Thumbnail(trouble=f'the image cannot be decoded: {error}')

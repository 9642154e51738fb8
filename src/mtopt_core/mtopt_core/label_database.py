"""The SQLite file of the label store: its schema, one connection for several threads, and what goes wrong with it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mtopt_core.errors import LabelError

BUSY_TIMEOUT = 30.0
"""s to wait while another process holds the store."""

_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
# SQLITE_ERROR, when nothing but the whole is asked for, is a file format that SQLite does not know.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})

_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS outcomes (
    episode_id TEXT NOT NULL,
    task TEXT NOT NULL,
    source TEXT NOT NULL,
    model_version TEXT NOT NULL,
    verdict INTEGER NOT NULL,
    probability REAL NOT NULL,
    who TEXT NOT NULL,
    stamp INTEGER NOT NULL,
    PRIMARY KEY (episode_id, task, source, model_version)
) WITHOUT ROWID
""",
    'CREATE TABLE IF NOT EXISTS gradings (number INTEGER PRIMARY KEY, episode_id TEXT NOT NULL)',
    'CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY CHECK (number = 0), length INTEGER NOT NULL)',
)


class LabelDatabase:
    """A connection to the store.

    Args:
        path: The file, made when missing. Switching to the write-ahead log fails while another process does it.
        patience: s to wait while another process holds the store.

    Raises:
        LabelError: The store is damaged or cannot be opened.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=patience, check_same_thread=False)
            try:
                self._prepare()
            except sqlite3.Error:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        self._connection.execute('PRAGMA journal_mode = WAL')
        self._connection.execute('PRAGMA synchronous = NORMAL')
        for table in _SCHEMA:
            self._connection.execute(table)
        if not self._connection.execute('SELECT EXISTS (SELECT * FROM gradings)').fetchone()[0]:
            with self._connection:
                self._connection.execute("INSERT INTO gradings VALUES (?, '')", (time.time_ns(),))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection to this thread alone.

        Raises:
            LabelError: The store is damaged or held by another process.
        """
        with self._lock, self._errors():
            yield self._connection

    @contextmanager
    def writing(self, at_once: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction: all of what is done is kept, or nothing after an error.

        Args:
            at_once: Whether other processes are kept from writing from the start on.

        Raises:
            LabelError: The disk is full, or the store is damaged or held by another process.
        """
        with self._lock, self._errors(), self._connection:
            if at_once:
                self._connection.execute('BEGIN IMMEDIATE')
            yield self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise LabelError(
                    f'label store {self._path} is held by another process; nothing was stored. Repeat, or end that one'
                ) from None
            raise self._unusable(error) from None
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> LabelError:
        if _code(error) in _DISK:
            return LabelError(
                f'label store {self._path}: {error}; nothing was stored. Make room on its disk, or see that it can be '
                'written'
            )
        return LabelError(
            f'label store {self._path}: {error}; `mtopt labels rebuild` makes it anew from journal and bags'
        )


def is_whole(path: Path) -> bool:
    """Return whether a store's file is undamaged.

    Raises:
        LabelError: It cannot be told: the disk is full or fails, or another process holds the store.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT)) as database:
            return database.execute('PRAGMA quick_check').fetchone() == ('ok',)
    except sqlite3.DatabaseError as error:
        if _code(error) in _DAMAGE:
            return False
        raise LabelError(
            f'label store {path} cannot be checked: {error}; it was left as it is. Make room on its disk, end what '
            'holds it, and repeat'
        ) from None


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of an error; 0 for one that SQLite did not tell."""
    return getattr(error, 'sqlite_errorcode', 0) & 0xFF

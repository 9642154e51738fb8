"""Outcomes beside the bags: which task was solved in which episode, according to whom.

Schema (SQLite with a write-ahead log, for any number of processes):

    outcomes(episode_id, task, source, model_version, verdict, probability, who, stamp)
        key: episode_id, task, source, model_version; stamp: when it was stored, ns since 1970

A detector's outcomes are kept per version. A human's replace the human's before them; every one of them stays in the
journal, from which `rebuild` restores them.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_journal import Grading, LabelJournal
from mtopt_core.paths import DataFolder

HUMAN, DETECTOR, SIMULATOR = 'human', 'detector', 'simulator'
SOURCES = (HUMAN, DETECTOR, SIMULATOR)
DEFAULT_SOURCES = (HUMAN, DETECTOR)
"""Whose outcome counts, the first that has one; the simulator's only where it is asked for by name."""

_SCHEMA = """
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
"""
_INSERT = 'INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
_BUSY_TIMEOUT = 30.0

_Row = tuple[str, str, str, str, int, float, str, int]


@dataclass(frozen=True)
class Restored:
    """What a journal gave back.

    Attributes:
        labels: Gradings by humans.
        torn: Lines that a crash cut off; what they said was never confirmed to the person.
    """

    labels: int
    torn: int


class LabelStore:
    """The label store of a data folder. One object may be used by several threads."""

    def __init__(self, data: DataFolder) -> None:
        """Open the store, made when missing.

        Raises:
            LabelError: The store is damaged or cannot be opened.
        """
        self._path = data.labels
        self._journal = LabelJournal(data.journal)
        self._lock = threading.Lock()
        # Switching to the write-ahead log fails while another process does it.
        with self._journal.locked(), self._errors():
            self._database = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT, check_same_thread=False)
            self._database.execute('PRAGMA journal_mode = WAL')
            self._database.execute('PRAGMA synchronous = NORMAL')
            self._database.execute(_SCHEMA)

    def close(self) -> None:
        """Close the store."""
        self._database.close()

    def add(self, episode_id: str, source: str, model_version: str, outcomes: Iterable[Outcome], who: str = '') -> None:
        """Store one grading of one episode, in place of the same source's and version's before.

        Args:
            episode_id: The episode.
            source: `human`, `detector` or `simulator`.
            model_version: Version of the detector, empty for others.
            outcomes: One per task graded.
            who: Name of the person, for a human's.

        Raises:
            LabelError: The source is unknown, the disk is full or the store is damaged. A human's labels are in the
                journal unless the message says otherwise.
        """
        self.add_many(source, model_version, {episode_id: tuple(outcomes)}, who)

    def add_many(
        self, source: str, model_version: str, outcomes: Mapping[str, Sequence[Outcome]], who: str = ''
    ) -> None:
        """Store gradings of many episodes at once.

        Args:
            source: As for `add`.
            model_version: As for `add`.
            outcomes: Outcomes by episode id.
            who: As for `add`.

        Raises:
            LabelError: As for `add`.
        """
        _check_sources((source,))
        stamp = time.time_ns()
        gradings = [Grading(episode_id, graded, who, stamp) for episode_id, graded in outcomes.items()]
        rows = [row for grading in gradings for row in _rows(grading, source, model_version)]
        if source != HUMAN:
            self._store(rows)
            return
        if model_version:
            raise LabelError(f"a human's labels have no model version, got {model_version!r}")
        with self._journal.locked() as journal:
            self._journal.append(journal, gradings)
            self._store(rows)

    def outcomes(self, episode_id: str, sources: Sequence[str] = DEFAULT_SOURCES) -> dict[str, Outcome]:
        """Return the outcome that counts for every task of one episode.

        Args:
            episode_id: The episode.
            sources: Whose outcomes count, the first that has one; of a detector's the newest version's.

        Raises:
            LabelError: A source is unknown or the store is damaged.
        """
        return self._select(sources, 'AND episode_id = ?', (episode_id,)).get(episode_id, {})

    def all_outcomes(self, sources: Sequence[str] = DEFAULT_SOURCES) -> dict[str, dict[str, Outcome]]:
        """Return the outcome that counts for every task of every episode.

        Args:
            sources: As for `outcomes`.

        Returns:
            Outcomes by episode id and task.

        Raises:
            LabelError: As for `outcomes`.
        """
        return self._select(sources, '', ())

    def _select(self, sources: Sequence[str], condition: str, values: tuple[str, ...]) -> dict[str, dict[str, Outcome]]:
        _check_sources(sources)
        # The source that counts most and the newest version come last and so replace the others.
        order = ' '.join(f'WHEN ? THEN {-rank}' for rank in range(len(sources)))
        marks = ', '.join('?' * len(sources))
        query = (
            f'SELECT episode_id, task, verdict, probability FROM outcomes WHERE source IN ({marks}) {condition} '  # noqa: S608 # only placeholders
            f'ORDER BY CASE source {order} END, model_version'
        )
        chosen: dict[str, dict[str, Outcome]] = {}
        with self._lock, self._errors():
            for episode_id, task, verdict, probability in self._database.execute(query, (*sources, *values, *sources)):
                chosen.setdefault(episode_id, {})[task] = Outcome(task, Verdict(verdict), probability)
        return chosen

    def restore_journal(self) -> Restored:
        """Replace every human's outcome in the store by what the journal says.

        Raises:
            LabelError: The store is damaged.
        """
        with self._journal.locked():
            labels, torn = self._journal.read()
            rows = [row for label in labels for row in _rows(label, HUMAN, '')]
            with self._lock, self._errors(), self._database:
                self._database.execute('DELETE FROM outcomes WHERE source = ?', (HUMAN,))
                self._database.executemany(_INSERT, rows)
        return Restored(len(labels), torn)

    def _store(self, rows: Sequence[_Row]) -> None:
        with self._lock, self._errors(), self._database:
            self._database.executemany(_INSERT, rows)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LabelError(
                f'label store {self._path}: {error}; `mtopt labels rebuild` makes it anew from journal and bags'
            ) from None


def _rows(grading: Grading, source: str, model_version: str) -> Iterator[_Row]:
    for outcome in grading.outcomes:
        yield (
            grading.episode_id,
            outcome.task,
            source,
            model_version,
            int(outcome.verdict),
            outcome.probability,
            grading.who,
            grading.stamp,
        )


def _check_sources(sources: Iterable[str]) -> None:
    unknown = [source for source in sources if source not in SOURCES]
    if unknown:
        raise LabelError(f'unknown source of outcomes {", ".join(unknown)}; known: {", ".join(SOURCES)}')


def rebuild(data: DataFolder) -> Restored:
    """Restore human labels from the journal; a store that is damaged is renamed and made anew.

    Outcomes of detectors and of the simulator stay where the store is whole. In a new one they must be graded again,
    save those recorded in bags.

    Raises:
        LabelError: The folder cannot be written.
    """
    if data.labels.exists() and not _is_whole(data.labels):
        damaged = data.labels.with_suffix('.damaged')
        data.labels.replace(damaged)
        for suffix in ('-wal', '-shm'):
            data.labels.with_name(data.labels.name + suffix).unlink(missing_ok=True)
    store = LabelStore(data)
    try:
        return store.restore_journal()
    finally:
        store.close()


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT)) as database:
            return database.execute('PRAGMA quick_check').fetchone() == ('ok',)
    except sqlite3.DatabaseError:
        return False

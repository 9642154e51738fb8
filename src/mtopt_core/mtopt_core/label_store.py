"""Outcomes beside the bags: which task was solved in which episode, according to whom.

Schema (SQLite with a write-ahead log, for any number of processes):

    outcomes(episode_id, task, source, model_version, verdict, probability, who, stamp)
        key: episode_id, task, source, model_version; stamp: when it was stored, ns since 1970
    gradings(number, episode_id)
        which episodes got other outcomes, in that order, so that who has seen them up to a number can look at the later
        ones alone; numbers start at the time at which the store was made, ns since 1970: another store has others

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

import numpy as np

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_journal import Grading, LabelJournal
from mtopt_core.paths import DataFolder
from mtopt_core.verdict_query import read_verdicts

HUMAN, DETECTOR, SIMULATOR = 'human', 'detector', 'simulator'
SOURCES = (HUMAN, DETECTOR, SIMULATOR)
DEFAULT_SOURCES = (HUMAN, DETECTOR)
"""Whose outcome counts, the first that has one; the simulator's only where it is asked for by name."""

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
)
_INSERT = 'INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
_GRADED = 'INSERT INTO gradings (episode_id) VALUES (?)'
_GRADED_BY = 'INSERT INTO gradings (episode_id) SELECT DISTINCT episode_id FROM outcomes WHERE source = ?'
_BUSY_TIMEOUT = 30.0

_Row = tuple[str, str, str, str, int, float, str, int]


@dataclass(frozen=True)
class GradedEpisodes:
    """What a detector says of some episodes.

    Attributes:
        episode_ids: `N` ids.
        verdicts: `(N, T) int8` of `Verdict`.
        probabilities: `(N, T) float`, p(success).
    """

    episode_ids: Sequence[str]
    verdicts: np.ndarray
    probabilities: np.ndarray


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
            for table in _SCHEMA:
                self._database.execute(table)
            if not self._database.execute('SELECT EXISTS (SELECT * FROM gradings)').fetchone()[0]:
                with self._database:
                    self._database.execute("INSERT INTO gradings VALUES (?, '')", (time.time_ns(),))

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

    def verdicts(
        self, source: str, tasks: Sequence[str], episode_ids: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return one source's verdicts as arrays, for more episodes than `all_outcomes` can make objects of.

        Args:
            source: `human`, `detector`, whose newest version's count, or `simulator`.
            tasks: Names of `T` tasks; the verdicts for others are left out.
            episode_ids: The episodes, as UTF-8, `bytes`; all when None.

        Returns:
            Ids of the episodes that have one, `(N,) bytes`, and the verdicts, `(N, T) int8` of `Verdict`, `NOT_JUDGED`
            for none.

        Raises:
            LabelError: The source is unknown or the store is damaged.
        """
        _check_sources((source,))
        with self._lock, self._errors():
            return read_verdicts(self._database, source, tasks, episode_ids)

    def add_verdicts(self, model_version: str, tasks: Sequence[str], graded: GradedEpisodes) -> None:
        """Store a detector's verdicts of many episodes, a hundred thousand rows a second.

        Args:
            model_version: Version of the detector.
            tasks: Names of `T` tasks.
            graded: The verdicts.

        Raises:
            LabelError: The disk is full or the store is damaged; none of them is stored then.
        """
        stamp, names = time.time_ns(), tuple(tasks)
        rows = [
            (episode_id, task, DETECTOR, model_version, verdict, probability, '', stamp)
            for episode_id, verdicts, probabilities in zip(
                graded.episode_ids, graded.verdicts.tolist(), graded.probabilities.tolist(), strict=True
            )
            for task, verdict, probability in zip(names, verdicts, probabilities, strict=True)
        ]
        self._store(rows)

    def graded_by(self, model_version: str, tasks: Sequence[str]) -> set[str]:
        """Return the ids of the episodes that a version of the detector has graded for all of some tasks.

        Raises:
            LabelError: The store is damaged.
        """
        marks = ', '.join('?' * len(tasks))
        query = (
            'SELECT episode_id FROM outcomes WHERE source = ? AND model_version = ? '  # noqa: S608 # only placeholders
            f'AND task IN ({marks}) GROUP BY episode_id HAVING count(*) = ?'
        )
        with self._lock, self._errors():
            found = self._database.execute(query, (DETECTOR, model_version, *tasks, len(tasks)))
            return {episode_id for (episode_id,) in found}

    def last_grading(self) -> int:
        """Return the number of the last grading.

        Raises:
            LabelError: The store is damaged.
        """
        with self._lock, self._errors():
            return int(self._database.execute('SELECT max(number) FROM gradings').fetchone()[0])

    def graded_since(self, number: int) -> np.ndarray | None:
        """Return the ids of episodes that got other outcomes after the grading of that number, `(N,) bytes`.

        Returns:
            None when the store knows no such grading: what is known of it is of another store.

        Raises:
            LabelError: The store is damaged.
        """
        with self._lock, self._errors():
            if not self._database.execute('SELECT * FROM gradings WHERE number = ?', (number,)).fetchone():
                return None
            found = self._database.execute('SELECT DISTINCT episode_id FROM gradings WHERE number > ?', (number,))
            return np.array([episode_id.encode() for (episode_id,) in found], 'S')

    def restore_journal(self) -> Restored:
        """Replace every human's outcome in the store by what the journal says.

        Raises:
            LabelError: The store is damaged.
        """
        with self._journal.locked():
            labels, torn = self._journal.read()
            rows = [row for label in labels for row in _rows(label, HUMAN, '')]
            with self._lock, self._errors(), self._database:
                self._database.execute(_GRADED_BY, (HUMAN,))
                self._database.execute('DELETE FROM outcomes WHERE source = ?', (HUMAN,))
                self._insert(rows)
        return Restored(len(labels), torn)

    def _store(self, rows: Sequence[_Row]) -> None:
        with self._lock, self._errors(), self._database:
            self._insert(rows)

    def _insert(self, rows: Sequence[_Row]) -> None:
        self._database.executemany(_INSERT, rows)
        self._database.executemany(_GRADED, dict.fromkeys((row[0],) for row in rows))

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

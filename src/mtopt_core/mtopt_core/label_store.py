"""Outcomes beside the bags: which task was solved in which episode, according to whom.

Schema (SQLite with a write-ahead log, for any number of processes):

    outcomes(episode_id, task, source, model_version, verdict, probability, who, stamp)
        key: episode_id, task, source, model_version; stamp: when it was stored, ns since 1970
    gradings(number, episode_id)
        which episodes got other outcomes, in that order, so that who has seen them up to a number can look at the later
        ones alone; numbers start at the time at which the store was made, ns since 1970: another store has others
    journal(length)
        how much of the journal is in the store, bytes: what a crash kept out of it is taken in at the next chance

A detector's outcomes are kept per version. A human's replace the human's before them; every one of them stays in the
journal, from which `rebuild` restores them.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.human_labels import Key, LabelChange, gradings_of, read_labels
from mtopt_core.label_journal import Grading, HumanLabel, LabelJournal
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
    'CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY CHECK (number = 0), length INTEGER NOT NULL)',
)
_INSERT = 'INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
_WITHDRAW = "DELETE FROM outcomes WHERE episode_id = ? AND task = ? AND source = 'human' AND model_version = ''"
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

    def __init__(self, data: DataFolder, patience: float = _BUSY_TIMEOUT) -> None:
        """Open the store, made when missing, with whatever of the journal a crash kept out of it.

        Args:
            data: The data folder.
            patience: s to wait while another process holds the store.

        Raises:
            LabelError: The store is damaged or cannot be opened.
        """
        self._path = data.labels
        self._data = data
        self._journal = LabelJournal(data.journal)
        self._lock = threading.Lock()
        # Switching to the write-ahead log fails while another process does it.
        with self._journal.locked(), self._errors():
            self._database = sqlite3.connect(self._path, timeout=patience, check_same_thread=False)
            self._database.execute('PRAGMA journal_mode = WAL')
            self._database.execute('PRAGMA synchronous = NORMAL')
            for table in _SCHEMA:
                self._database.execute(table)
            if not self._database.execute('SELECT EXISTS (SELECT * FROM gradings)').fetchone()[0]:
                with self._database:
                    self._database.execute("INSERT INTO gradings VALUES (?, '')", (time.time_ns(),))
            with self._database:
                self._catch_up()

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
        if source != HUMAN:
            with self._lock, self._errors(), self._database:
                self._insert(gradings, source, model_version)
            return
        if model_version:
            raise LabelError(f"a human's labels have no model version, got {model_version!r}")
        with self._changing_labels() as journal:
            counting = read_labels(self._database, _keys(gradings))
            self._keep(journal, [replace(grading, replaced=_replaced(grading, counting)) for grading in gradings])

    def change_labels(self, changes: Sequence[LabelChange]) -> dict[Key, HumanLabel]:
        """Store what people say, all of it or nothing; it is in the synced journal when this returns.

        Saying the same again changes nothing, so that a click that is sent twice is one label.

        Args:
            changes: What they say, no two about the same task and episode.

        Returns:
            The labels that count now, of the episodes and tasks named; those without one are left out.

        Raises:
            LabelConflictError: A person saw another label than the one that counts.
            LabelError: As for `add`.
        """
        keys = [(change.episode_id, change.task) for change in changes]
        with self._changing_labels() as journal:
            counting = read_labels(self._database, keys)
            # A clock that was set back must not give a label the stamp of one before it.
            stamp = max(time.time_ns(), *(label.stamp + 1 for label in counting.values()), 0)
            self._keep(journal, gradings_of(changes, stamp, counting))
            return read_labels(self._database, keys)

    def labels(self, keys: Iterable[Key]) -> dict[Key, HumanLabel]:
        """Return the people's labels that count, of those episodes and tasks that have one.

        Raises:
            LabelError: The store is damaged.
        """
        with self._lock, self._errors():
            return read_labels(self._database, keys)

    def history(self, episode_id: str, task: str) -> list[Grading]:
        """Return everything people said about one task in one episode, the oldest first."""
        gradings, _ = self._journal.read()
        return [grading for grading in gradings if grading.episode_id == episode_id and task in grading.tasks]

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
        with self._lock, self._errors(), self._database:
            self._database.executemany(_INSERT, rows)
            self._database.executemany(_GRADED, [(episode_id,) for episode_id in graded.episode_ids])

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

    def detector_versions(self) -> list[str]:
        """Return the versions of the detector that have graded something, oldest first.

        Raises:
            LabelError: The store is damaged.
        """
        query = 'SELECT DISTINCT model_version FROM outcomes WHERE source = ? ORDER BY model_version'
        with self._lock, self._errors():
            return [version for (version,) in self._database.execute(query, (DETECTOR,))]

    def outcomes_by(self, model_version: str) -> dict[str, dict[str, Outcome]]:
        """Return what one version of the detector said, by episode id and task.

        Raises:
            LabelError: The store is damaged.
        """
        query = 'SELECT episode_id, task, verdict, probability FROM outcomes WHERE source = ? AND model_version = ?'
        found: dict[str, dict[str, Outcome]] = {}
        with self._lock, self._errors():
            for episode_id, task, verdict, probability in self._database.execute(query, (DETECTOR, model_version)):
                found.setdefault(episode_id, {})[task] = Outcome(task, Verdict(verdict), probability)
        return found

    def rename_task(self, old: str, new: str) -> int:
        """Give the outcomes of a task its new name, also when they are restored from the journal.

        Args:
            old: Its name so far.
            new: Its name from now on.

        Returns:
            How many episodes have outcomes of it.

        Raises:
            LabelError: The store is damaged, or the disk is full.
        """
        with self._journal.locked(), self._errors():
            try:
                with self._data.renamed_tasks.open('a') as file:
                    file.write(json.dumps({'old': old, 'new': new}) + '\n')
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise LabelError(f'{self._data.renamed_tasks} cannot be written: {error.strerror}') from None
            with self._lock, self._database:
                return self._rename(old, new)

    def apply_renames(self) -> None:
        """Give outcomes that came from the journal, or from old bags, the names that tasks have now.

        Raises:
            LabelError: The store, or the list of renamed tasks, is damaged.
        """
        with self._lock, self._errors(), self._database:
            for old, new in self._renames():
                self._rename(old, new)

    def _renames(self) -> list[tuple[str, str]]:
        file = self._data.renamed_tasks
        if not file.exists():
            return []
        try:
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            return [(line['old'], line['new']) for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise LabelError(f'{file} is damaged: {error!r}') from None

    def _rename(self, old: str, new: str) -> int:
        self._database.execute(
            'INSERT INTO gradings (episode_id) SELECT DISTINCT episode_id FROM outcomes WHERE task = ?', (old,)
        )
        renamed = self._database.execute('SELECT count(DISTINCT episode_id) FROM outcomes WHERE task = ?', (old,))
        count = int(renamed.fetchone()[0])
        self._database.execute('UPDATE OR REPLACE outcomes SET task = ? WHERE task = ?', (new, old))
        return count

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
        with self._journal.locked() as journal:
            labels, torn = self._journal.read()
            with self._lock, self._errors(), self._database:
                self._database.execute(_GRADED_BY, (HUMAN,))
                self._database.execute('DELETE FROM outcomes WHERE source = ?', (HUMAN,))
                self._insert(labels, HUMAN, '')
                self._taken_in(os.fstat(journal).st_size)
        return Restored(len(labels), torn)

    @contextmanager
    def _changing_labels(self) -> Iterator[int]:
        """Hold journal and store against all others; the store first, for who cannot have it must change neither."""
        with self._journal.locked() as journal, self._lock, self._errors(), self._database:
            self._database.execute('BEGIN IMMEDIATE')
            self._catch_up()
            yield journal

    def _keep(self, journal: int, gradings: Sequence[Grading]) -> None:
        if gradings:
            length = self._journal.append(journal, gradings)
            self._insert(gradings, HUMAN, '')
            self._taken_in(length)

    def _catch_up(self) -> None:
        """Take in what is in the journal and not in the store: a crash came between the two."""
        known = self._database.execute('SELECT length FROM journal').fetchone()
        length = self._journal.length()
        start = 0 if known is None or known[0] > length else known[0]
        if start == length:
            return
        labels, _ = self._journal.read(start)
        self._insert(labels, HUMAN, '')
        self._taken_in(length)

    def _taken_in(self, length: int) -> None:
        self._database.execute('INSERT OR REPLACE INTO journal VALUES (0, ?)', (length,))

    def _insert(self, gradings: Sequence[Grading], source: str, model_version: str) -> None:
        for grading in gradings:
            self._database.executemany(_INSERT, _rows(grading, source, model_version))
            self._database.executemany(_WITHDRAW, [(grading.episode_id, task) for task in grading.withdrawn])
        self._database.executemany(_GRADED, dict.fromkeys((grading.episode_id,) for grading in gradings))

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
        return LabelError(
            f'label store {self._path}: {error}; `mtopt labels rebuild` makes it anew from journal and bags'
        )


def _keys(gradings: Iterable[Grading]) -> list[Key]:
    return [(grading.episode_id, task) for grading in gradings for task in grading.tasks]


def _replaced(grading: Grading, counting: Mapping[Key, HumanLabel]) -> dict[str, HumanLabel]:
    labels = {task: counting.get((grading.episode_id, task)) for task in grading.tasks}
    return {task: label for task, label in labels.items() if label is not None}


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
        restored = store.restore_journal()
        store.apply_renames()
        return restored
    finally:
        store.close()


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT)) as database:
            return database.execute('PRAGMA quick_check').fetchone() == ('ok',)
    except sqlite3.DatabaseError:
        return False

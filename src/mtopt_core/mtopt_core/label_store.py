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

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.human_labels import Key, LabelChange, gradings_of, read_labels
from mtopt_core.journal_intake import catch_up, taken_in
from mtopt_core.label_database import BUSY_TIMEOUT, LabelDatabase
from mtopt_core.label_journal import Grading, HumanLabel, LabelJournal
from mtopt_core.outcome_query import counting_outcomes, episodes_graded_by
from mtopt_core.outcome_rows import GradedEpisodes, insert_gradings, insert_verdicts
from mtopt_core.paths import DataFolder
from mtopt_core.task_renames import append_rename, read_renames, rename_outcomes
from mtopt_core.verdict_query import read_counting_verdicts, read_verdicts

HUMAN, DETECTOR, SIMULATOR = 'human', 'detector', 'simulator'
SOURCES = (HUMAN, DETECTOR, SIMULATOR)
DEFAULT_SOURCES = (HUMAN, DETECTOR)
"""Whose outcome counts, the first that has one; the simulator's only where it is asked for by name."""

_GRADED_BY = 'INSERT INTO gradings (episode_id) SELECT DISTINCT episode_id FROM outcomes WHERE source = ?'


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

    def __init__(self, data: DataFolder, patience: float = BUSY_TIMEOUT) -> None:
        """Open the store, made when missing, with whatever of the journal a crash kept out of it.

        Args:
            data: The data folder.
            patience: s to wait while another process holds the store.

        Raises:
            LabelError: The store is damaged or cannot be opened.
        """
        self._data = data
        self._journal = LabelJournal(data.journal)
        # Others must not make the store at the same time.
        with self._journal.locked():
            self._database = LabelDatabase(data.labels, patience)
            with self._database.writing() as database:
                catch_up(self._journal, database)

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
            with self._database.writing() as database:
                insert_gradings(database, gradings, source, model_version)
            return
        if model_version:
            raise LabelError(f"a human's labels have no model version, got {model_version!r}")
        with self._changing_labels() as (journal, database):
            counting = read_labels(database, _keys(gradings))
            self._keep(
                journal, database, [replace(grading, replaced=_replaced(grading, counting)) for grading in gradings]
            )

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
        with self._changing_labels() as (journal, database):
            counting = read_labels(database, keys)
            # A clock that was set back must not give a label the stamp of one before it.
            stamp = max(time.time_ns(), *(label.stamp + 1 for label in counting.values()), 0)
            self._keep(journal, database, gradings_of(changes, stamp, counting))
            return read_labels(database, keys)

    def labels(self, keys: Iterable[Key]) -> dict[Key, HumanLabel]:
        """Return the people's labels that count, of those episodes and tasks that have one.

        Raises:
            LabelError: The store is damaged.
        """
        with self._database.reading() as database:
            return read_labels(database, keys)

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

    def gradings(self, episode_id: str, sources: Sequence[str]) -> dict[tuple[str, str], list[Outcome]]:
        """Return everything that some sources said of one episode, by source and model version.

        Raises:
            LabelError: A source is unknown or the store is damaged.
        """
        _check_sources(sources)
        query = 'SELECT source, model_version, task, verdict, probability FROM outcomes WHERE episode_id = ?'
        found: dict[tuple[str, str], list[Outcome]] = {}
        with self._database.reading() as database:
            for source, version, task, verdict, probability in database.execute(query, (episode_id,)):
                if source in sources:
                    found.setdefault((source, version), []).append(Outcome(task, Verdict(verdict), probability))
        return found

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
        with self._database.reading() as database:
            return counting_outcomes(database, sources, condition, values)

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
        with self._database.reading() as database:
            return read_verdicts(database, source, tasks, episode_ids)

    def counting_verdicts(
        self, episode_ids: Sequence[str], tasks: Sequence[str], sources: Sequence[str] = DEFAULT_SOURCES
    ) -> np.ndarray:
        """Return the verdicts that count of some episodes, `(N, T) int8` of `Verdict`, `NOT_JUDGED` for none.

        Args:
            episode_ids: `N` episodes.
            tasks: Names of `T` tasks.
            sources: As for `outcomes`.

        Raises:
            LabelError: As for `outcomes`.
        """
        _check_sources(sources)
        with self._database.reading() as database:
            return read_counting_verdicts(database, sources, tasks, episode_ids)

    def add_verdicts(self, model_version: str, tasks: Sequence[str], graded: GradedEpisodes) -> None:
        """Store a detector's verdicts of many episodes, a hundred thousand rows a second.

        Args:
            model_version: Version of the detector.
            tasks: Names of `T` tasks.
            graded: The verdicts.

        Raises:
            LabelError: The disk is full or the store is damaged; none of them is stored then.
        """
        with self._database.writing() as database:
            insert_verdicts(database, DETECTOR, model_version, tasks, graded)

    def graded_by(self, model_version: str, tasks: Sequence[str]) -> set[str]:
        """Return the ids of the episodes that a version of the detector has graded for all of some tasks.

        Raises:
            LabelError: The store is damaged.
        """
        with self._database.reading() as database:
            return episodes_graded_by(database, DETECTOR, model_version, tasks)

    def detector_versions(self) -> list[str]:
        """Return the versions of the detector that have graded something, oldest first.

        Raises:
            LabelError: The store is damaged.
        """
        query = 'SELECT DISTINCT model_version FROM outcomes WHERE source = ? ORDER BY model_version'
        with self._database.reading() as database:
            return [version for (version,) in database.execute(query, (DETECTOR,))]

    def outcomes_by(self, model_version: str) -> dict[str, dict[str, Outcome]]:
        """Return what one version of the detector said, by episode id and task.

        Raises:
            LabelError: The store is damaged.
        """
        with self._database.reading() as database:
            return counting_outcomes(database, (DETECTOR,), 'AND model_version = ?', (model_version,))

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
        with self._journal.locked():
            append_rename(self._data.renamed_tasks, old, new)
            with self._database.writing() as database:
                return rename_outcomes(database, old, new)

    def apply_renames(self) -> None:
        """Give outcomes that came from the journal, or from old bags, the names that tasks have now.

        Raises:
            LabelError: The store, or the list of renamed tasks, is damaged.
        """
        renames = read_renames(self._data.renamed_tasks)
        with self._database.writing() as database:
            for old, new in renames:
                rename_outcomes(database, old, new)

    def last_grading(self) -> int:
        """Return the number of the last grading.

        Raises:
            LabelError: The store is damaged.
        """
        with self._database.reading() as database:
            return int(database.execute('SELECT max(number) FROM gradings').fetchone()[0])

    def graded_since(self, number: int) -> np.ndarray | None:
        """Return the ids of episodes that got other outcomes after the grading of that number, `(N,) bytes`.

        Returns:
            None when the store knows no such grading: what is known of it is of another store.

        Raises:
            LabelError: The store is damaged.
        """
        with self._database.reading() as database:
            if not database.execute('SELECT * FROM gradings WHERE number = ?', (number,)).fetchone():
                return None
            found = database.execute('SELECT DISTINCT episode_id FROM gradings WHERE number > ?', (number,))
            return np.array([episode_id.encode() for (episode_id,) in found], 'S')

    def restore_journal(self) -> Restored:
        """Replace every human's outcome in the store by what the journal says.

        Raises:
            LabelError: The store is damaged.
        """
        with self._journal.locked() as journal:
            labels, torn = self._journal.read()
            with self._database.writing() as database:
                database.execute(_GRADED_BY, (HUMAN,))
                database.execute('DELETE FROM outcomes WHERE source = ?', (HUMAN,))
                insert_gradings(database, labels, HUMAN, '')
                taken_in(database, os.fstat(journal).st_size)
        return Restored(len(labels), torn)

    @contextmanager
    def _changing_labels(self) -> Iterator[tuple[int, sqlite3.Connection]]:
        """Hold journal and store against all others; the store first, for who cannot have it must change neither."""
        with self._journal.locked() as journal, self._database.writing(at_once=True) as database:
            catch_up(self._journal, database)
            yield journal, database

    def _keep(self, journal: int, database: sqlite3.Connection, gradings: Sequence[Grading]) -> None:
        if gradings:
            length = self._journal.append(journal, gradings)
            insert_gradings(database, gradings, HUMAN, '')
            taken_in(database, length)


def _keys(gradings: Iterable[Grading]) -> list[Key]:
    return [(grading.episode_id, task) for grading in gradings for task in grading.tasks]


def _replaced(grading: Grading, counting: Mapping[Key, HumanLabel]) -> dict[str, HumanLabel]:
    labels = {task: counting.get((grading.episode_id, task)) for task in grading.tasks}
    return {task: label for task, label in labels.items() if label is not None}


def _check_sources(sources: Iterable[str]) -> None:
    unknown = [source for source in sources if source not in SOURCES]
    if unknown:
        raise LabelError(f'unknown source of outcomes {", ".join(unknown)}; known: {", ".join(SOURCES)}')

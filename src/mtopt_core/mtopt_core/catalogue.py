"""The catalogue of a folder of bags: what each episode is, without opening it again.

A bag is read once in full when it appears, so that everything the catalogue lists can be used; one that cannot be read
because it is damaged is set aside with the reason. The catalogue is an index (SQLite): losing it costs a scan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtopt_core.bag import set_aside
from mtopt_core.episode import Episode, Termination
from mtopt_core.episode_bag import episode_ids, read_named_episode
from mtopt_core.errors import BagError, BagUnreachableError
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS episodes (
    episode_id TEXT PRIMARY KEY,
    robot TEXT NOT NULL,
    task TEXT NOT NULL,
    skill TEXT NOT NULL,
    policy TEXT NOT NULL,
    model_version TEXT NOT NULL,
    previous_episode_id TEXT NOT NULL,
    steps INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    simulated INTEGER NOT NULL,
    termination INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_task ON episodes (task, policy, episode_id);
"""
_COLUMNS = (
    'episode_id',
    'robot',
    'task',
    'skill',
    'policy',
    'model_version',
    'previous_episode_id',
    'steps',
    'stamp',
    'simulated',
    'termination',
)
_INSERT = f'INSERT OR REPLACE INTO episodes VALUES ({", ".join("?" * len(_COLUMNS))})'  # noqa: S608
_BUSY_TIMEOUT = 30.0
_BATCH = 500


@dataclass(frozen=True)
class Row:
    """One episode of the catalogue.

    Attributes:
        episode_id: Its id, the bag's name.
        path: Its bag.
        robot: Namespace of the robot.
        task: Task attempted.
        skill: Skill of that task.
        policy: `scripted` or `learned`.
        model_version: Version of the policy's checkpoint, empty for scripted.
        previous_episode_id: The episode this one went on from, else empty.
        steps: Actions in the bag.
        stamp: Its end, ns on the clock of the robot or the simulator.
        simulated: Whether a simulator was driven.
        termination: Why it ended.
    """

    episode_id: str
    path: Path
    robot: str
    task: str
    skill: str
    policy: str
    model_version: str
    previous_episode_id: str
    steps: int
    stamp: int
    simulated: bool
    termination: Termination


@dataclass(frozen=True)
class Refreshed:
    """What a scan found.

    Attributes:
        added: Episodes new to the catalogue.
        removed: Episodes whose bag is gone.
        set_aside: Bags that are damaged, where they lie now.
        unreachable: Why other bags cannot be read at the moment; the next scan tries again.
    """

    added: int
    removed: int
    set_aside: tuple[Path, ...]
    unreachable: tuple[str, ...]


class Catalogue:
    """The catalogue of a data folder. Every call opens the index, so threads and processes may share it."""

    def __init__(self, data: DataFolder) -> None:
        self._data = data

    def refresh(self, progress: Report = silent) -> Refreshed:
        """Read new bags in, set aside those that are damaged, forget those that are gone.

        Args:
            progress: Told how many of the new bags are done.

        Raises:
            BagError: The index is damaged, or a bag cannot be set aside.
        """
        with self._index() as index:
            present = set(episode_ids(self._data.bags))
            known = {episode_id for (episode_id,) in index.execute('SELECT episode_id FROM episodes')}
            gone, new = known - present, sorted(present - known)
            with index:
                index.executemany('DELETE FROM episodes WHERE episode_id = ?', [(name,) for name in gone])
            aside: list[Path] = []
            unreachable: list[str] = []
            added = 0
            for start in range(0, len(new), _BATCH):
                rows = []
                for number, name in enumerate(new[start : start + _BATCH], start):
                    progress(number, len(new))
                    path = self._data.bags / name
                    try:
                        rows.append(_values(read_named_episode(path)))
                    except BagUnreachableError as error:
                        unreachable.append(str(error))
                    except BagError as error:
                        # Another process may have set it aside, or removed it, at the same time.
                        with suppress(FileNotFoundError):
                            aside.append(set_aside(path, str(error)))
                with index:
                    index.executemany(_INSERT, rows)
                added += len(rows)
            progress(len(new), len(new))
        return Refreshed(added, len(gone), tuple(aside), tuple(unreachable))

    def add(self, episode: Episode) -> None:
        """Take in an episode that has been read from its bag, which takes as long however many there are.

        Raises:
            BagError: The index is damaged.
        """
        with self._index() as index, index:
            index.execute(_INSERT, _values(episode))

    def rebuild(self, progress: Report = silent) -> Refreshed:
        """Throw the index away and read every bag again.

        Raises:
            BagError: A bag cannot be set aside.
        """
        for suffix in ('', '-wal', '-shm'):
            self._data.catalogue.with_name(self._data.catalogue.name + suffix).unlink(missing_ok=True)
        return self.refresh(progress)

    def episodes(self, task: str | None = None, skill: str | None = None, policy: str | None = None) -> list[Row]:
        """Return the episodes known since the last `refresh`, in order of their ids, which is that of time.

        Args:
            task: Only those that attempted this task.
            skill: Only those of this skill.
            policy: Only those of this policy.

        Raises:
            BagError: The index is damaged.
        """
        wanted = {'task': task, 'skill': skill, 'policy': policy}
        conditions = [f'{column} = ?' for column, value in wanted.items() if value is not None]
        query = (
            f'SELECT {", ".join(_COLUMNS)} FROM episodes WHERE {" AND ".join(conditions) or "1"} ORDER BY episode_id'  # noqa: S608
        )
        with self._index() as index:
            found = index.execute(query, [value for value in wanted.values() if value is not None]).fetchall()
        return [self._row(dict(zip(_COLUMNS, values, strict=True))) for values in found]

    def attempts(self) -> dict[tuple[str, str], tuple[int, str]]:
        """Return, by task and policy, how many episodes there are and the id of the newest.

        Raises:
            BagError: The index is damaged.
        """
        query = 'SELECT task, policy, COUNT(*), MAX(episode_id) FROM episodes GROUP BY task, policy'
        with self._index() as index:
            return {(task, policy): (count, newest) for task, policy, count, newest in index.execute(query)}

    def newest(self, task: str, policies: Iterable[str], limit: int) -> list[str]:
        """Return the ids of a task's newest episodes of some policies, newest first, at most `limit`.

        Raises:
            BagError: The index is damaged.
        """
        query = 'SELECT episode_id FROM episodes WHERE task = ? AND policy = ? ORDER BY episode_id DESC LIMIT ?'
        with self._index() as index:
            found = [name for policy in policies for (name,) in index.execute(query, (task, policy, limit))]
        return sorted(found, reverse=True)[:limit]

    def _row(self, fields: dict[str, Any]) -> Row:
        simulated, termination = bool(fields.pop('simulated')), Termination(fields.pop('termination'))
        return Row(path=self._data.bags / fields['episode_id'], simulated=simulated, termination=termination, **fields)

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        try:
            self._data.root.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._data.catalogue, timeout=_BUSY_TIMEOUT)) as index:
                index.executescript(_SCHEMA)
                yield index
        except (sqlite3.Error, OSError) as error:
            raise BagError(
                f'catalogue {self._data.catalogue}: {error}; `mtopt bags check --again` makes it anew'
            ) from None


def _values(episode: Episode) -> tuple[str | int, ...]:
    info = episode.info
    return (
        info.episode_id,
        info.robot,
        info.task,
        info.skill,
        info.policy,
        info.model_version,
        info.previous_episode_id,
        len(episode.steps),
        info.stamp,
        info.simulated,
        int(info.termination),
    )

"""Reading a million episodes' verdicts from the label store: one row per episode, not one per episode and task.

Making an object of every row is what takes the time, so SQLite writes an episode's verdicts into one string, of which
each character is a number for a task and a verdict.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import numpy as np

from mtopt_core.episode import Verdict

NOT_JUDGED = -1
"""In an array of verdicts: there is none."""

_KINDS = len(Verdict)
_EPISODES_AT_ONCE = 20_000


def read_verdicts(
    database: sqlite3.Connection, source: str, tasks: Sequence[str], episode_ids: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Do what `LabelStore.verdicts` does, which see."""
    found = database.execute(*_packed(source, tasks, episode_ids))
    ids, verdicts = [np.empty(0, 'S1')], [np.empty((0, len(tasks)), np.int8)]
    while rows := found.fetchmany(_EPISODES_AT_ONCE):
        more_ids, packed = zip(*rows, strict=True)
        ids.append(np.array([episode_id.encode() for episode_id in more_ids], 'S'))
        verdicts.append(_unpacked(packed, len(tasks)))
    return np.concatenate(ids), np.concatenate(verdicts)


def read_counting_verdicts(
    database: sqlite3.Connection, sources: Sequence[str], tasks: Sequence[str], episode_ids: Sequence[str]
) -> np.ndarray:
    """Do what `LabelStore.counting_verdicts` does, which see."""
    places = {episode_id.encode(): place for place, episode_id in enumerate(episode_ids)}
    counting = np.full((len(episode_ids), len(tasks)), NOT_JUDGED, np.int8)
    # The source that counts most comes last and replaces the others' verdicts.
    for source in reversed(sources):
        ids, verdicts = read_verdicts(database, source, tasks, None)
        found = np.array([places.get(episode_id, -1) for episode_id in ids.tolist()], int)
        known, verdicts = found[found >= 0], verdicts[found >= 0]
        counting[known] = np.where(verdicts == NOT_JUDGED, counting[known], verdicts)
    return counting


def _packed(source: str, tasks: Sequence[str], episode_ids: np.ndarray | None) -> tuple[str, list[str]]:
    """Return the query, and its values, for episode ids and their verdicts."""
    # The first character is 1: SQLite ends a string at 0.
    cases = ' '.join(f'WHEN ? THEN {1 + _KINDS * place}' for place in range(len(tasks)))
    values, condition = [*tasks, source, *tasks], ''
    if episode_ids is not None:
        condition = 'AND episode_id IN (SELECT value FROM json_each(?))'
        values.append(json.dumps([episode_id.decode() for episode_id in episode_ids]))
    # Rows come in the order of the primary key, as grouping by its first column needs: of several versions the newest
    # is last. To ask for that order would have SQLite sort them all.
    query = f"""
        SELECT episode_id, group_concat(char(CASE task {cases} END + verdict), '') FROM outcomes
        WHERE source = ? AND task IN ({', '.join('?' * len(tasks))}) {condition} GROUP BY episode_id
    """  # noqa: S608 # only placeholders
    return query, values


def _unpacked(packed: Sequence[str], tasks: int) -> np.ndarray:
    """Return verdicts as an array, `(N, T) int8`."""
    episodes = np.repeat(np.arange(len(packed)), [len(characters) for characters in packed])
    task, verdict = np.divmod(np.frombuffer(''.join(packed).encode('utf-32-le'), '<u4') - 1, _KINDS)
    verdicts = np.full((len(packed), tasks), NOT_JUDGED, np.int8)
    # Where a verdict of an older version comes first, that of the newer one replaces it.
    verdicts[episodes, task] = verdict
    return verdicts

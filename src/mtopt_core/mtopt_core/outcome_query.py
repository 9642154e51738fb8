"""Reading outcomes from the label store as objects; for very many see `verdict_query`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mtopt_core.episode import Outcome, Verdict


def counting_outcomes(
    database: sqlite3.Connection, sources: Sequence[str], condition: str, values: tuple[str, ...]
) -> dict[str, dict[str, Outcome]]:
    """Return the outcomes that count, by episode id and task.

    Args:
        database: The label store's.
        sources: Whose outcomes count, the first that has one; of a detector's the newest version's.
        condition: Further SQL, `AND ...`, with placeholders.
        values: Of these.
    """
    # The source that counts most and the newest version come last and so replace the others.
    order = ' '.join(f'WHEN ? THEN {-rank}' for rank in range(len(sources)))
    marks = ', '.join('?' * len(sources))
    query = (
        f'SELECT episode_id, task, verdict, probability FROM outcomes WHERE source IN ({marks}) {condition} '  # noqa: S608 # only placeholders
        f'ORDER BY CASE source {order} END, model_version'
    )
    chosen: dict[str, dict[str, Outcome]] = {}
    for episode_id, task, verdict, probability in database.execute(query, (*sources, *values, *sources)):
        chosen.setdefault(episode_id, {})[task] = Outcome(task, Verdict(verdict), probability)
    return chosen


def episodes_graded_by(database: sqlite3.Connection, source: str, model_version: str, tasks: Sequence[str]) -> set[str]:
    """Return the ids of the episodes that a source's version has graded for all of some tasks."""
    marks = ', '.join('?' * len(tasks))
    query = (
        'SELECT episode_id FROM outcomes WHERE source = ? AND model_version = ? '  # noqa: S608 # only placeholders
        f'AND task IN ({marks}) GROUP BY episode_id HAVING count(*) = ?'
    )
    return {episode_id for (episode_id,) in database.execute(query, (source, model_version, *tasks, len(tasks)))}

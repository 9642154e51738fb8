"""Writing outcomes into the label store, one row per episode, task, source and version."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mtopt_core.label_journal import Grading

_INSERT = 'INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
_WITHDRAW = "DELETE FROM outcomes WHERE episode_id = ? AND task = ? AND source = 'human' AND model_version = ''"
_GRADED = 'INSERT INTO gradings (episode_id) VALUES (?)'

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


def insert_gradings(database: sqlite3.Connection, gradings: Sequence[Grading], source: str, model_version: str) -> None:
    """Store gradings in place of the same source's and version's before, and take back what was withdrawn."""
    for grading in gradings:
        database.executemany(_INSERT, _rows(grading, source, model_version))
        database.executemany(_WITHDRAW, [(grading.episode_id, task) for task in grading.withdrawn])
    database.executemany(_GRADED, dict.fromkeys((grading.episode_id,) for grading in gradings))


def insert_verdicts(
    database: sqlite3.Connection, source: str, model_version: str, tasks: Sequence[str], graded: GradedEpisodes
) -> None:
    """Store verdicts of many episodes, a hundred thousand rows a second."""
    stamp, names = time.time_ns(), tuple(tasks)
    rows = [
        (episode_id, task, source, model_version, verdict, probability, '', stamp)
        for episode_id, verdicts, probabilities in zip(
            graded.episode_ids, graded.verdicts.tolist(), graded.probabilities.tolist(), strict=True
        )
        for task, verdict, probability in zip(names, verdicts, probabilities, strict=True)
    ]
    database.executemany(_INSERT, rows)
    database.executemany(_GRADED, [(episode_id,) for episode_id in graded.episode_ids])


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

"""Which labels would teach a detector most: what a person is asked next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mtopt_success_detector.judging import Judgements


class Reason(StrEnum):
    """Why an image is asked about."""

    UNCERTAIN = 'the detector cannot tell'
    VIEWS = 'the cameras disagree'
    NEW = 'it looks new'
    RANDOM = 'drawn at random'


TURNS = (
    Reason.UNCERTAIN,
    Reason.VIEWS,
    Reason.UNCERTAIN,
    Reason.NEW,
    Reason.UNCERTAIN,
    Reason.VIEWS,
    Reason.UNCERTAIN,
    Reason.RANDOM,
)
"""In which order reasons have their turn: whatever one of them is blind to, another finds."""


@dataclass(frozen=True)
class Question:
    """One question for a person.

    Attributes:
        row: Of the episode, among those judged.
        task: Place of the task in the one-hot.
        reason: Why.
    """

    row: int
    task: int
    reason: Reason


def questions(judged: Judgements, task: int, candidates: np.ndarray, rng: np.random.Generator) -> Iterator[Question]:
    """Yield questions about one task, those first that teach most.

    Args:
        judged: What the detector says of the episodes.
        task: Place of the task in the one-hot.
        candidates: `(N,) bool`, the episodes that may be asked about.
        rng: Source of the random ones.
    """
    # Nobody can answer what no image shows.
    rows = np.flatnonzero(candidates & ~np.isnan(judged.logits[:, task]))
    # Not calibrated: training shows both outcomes equally often, so zero is where the evidence is balanced, also of
    # a task that hardly ever succeeds.
    by_view = judged.by_view[rows, :, task]
    spread = np.nanmax(by_view, axis=1) - np.nanmin(by_view, axis=1)
    orders = {
        Reason.UNCERTAIN: rows[np.argsort(np.abs(judged.logits[rows, task]), kind='stable')],
        Reason.VIEWS: rows[np.argsort(-spread, kind='stable')],
        Reason.NEW: rows[np.argsort(-judged.distances[rows, task], kind='stable')],
        Reason.RANDOM: rng.permutation(rows),
    }
    queues = {reason: iter(order.tolist()) for reason, order in orders.items()}
    asked: set[int] = set()
    while len(asked) < len(rows):
        for reason in TURNS:
            row = next((row for row in queues[reason] if row not in asked), None)
            if row is not None:
                asked.add(row)
                yield Question(row, task, reason)

"""Says when what the detector sees, or says, is no longer what it was when it was trained.

Two things are watched per task, over the newest episodes of its skill: the verdicts, whose shares of success and of
unsure should stay, and the distance of the tower's features from those there were. Success may
become more frequent because a policy learned; the alarm then is a reason to look at some images, and ends with a new
detector.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from mtopt_core.episode import Verdict

WINDOW = 200
"""Newest episodes of a skill that are looked at."""
FEWEST = 50
"""Episodes below which nothing is said."""
SURE = 4.0
"""Standard errors from which a change is no accident, though a dozen tasks are looked at all day long."""
RATE_CHANGE = {Verdict.SUCCESS: 0.25, Verdict.UNSURE: 0.08}
"""Smallest change of a verdict's share worth telling."""
DISTANCE_CHANGE = 0.5
"""Smallest change of the mean logarithm of the distance worth telling, in its standard deviations."""


class Reference(BaseModel):
    """What was usual for a task when the detector was trained, over episodes of the task's skill.

    Attributes:
        episodes: Their number.
        success: Share of success verdicts.
        unsure: Share of unsure verdicts.
        distance: Mean of the logarithm of the distance.
        distance_spread: Standard deviation of that.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    episodes: int
    success: float
    unsure: float
    distance: float
    distance_spread: float

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], distances: np.ndarray) -> Reference:
        """Return what some episodes, at least one, show.

        Args:
            verdicts: Of the task, one per episode.
            distances: `(N,) float`, of the features.
        """
        logarithms = np.log(distances)
        return cls(
            episodes=len(verdicts),
            success=float(np.mean([verdict is Verdict.SUCCESS for verdict in verdicts])),
            unsure=float(np.mean([verdict is Verdict.UNSURE for verdict in verdicts])),
            distance=float(logarithms.mean()),
            distance_spread=float(logarithms.std()),
        )


class DriftMonitor:
    """Compares the newest gradings with the references of the detector that made them.

    Args:
        references: By task; the others are not watched.
        window: Newest episodes of each task that count.
    """

    def __init__(self, references: Mapping[str, Reference], window: int = WINDOW) -> None:
        self._references = references
        self._verdicts: dict[str, deque[Verdict]] = defaultdict(lambda: deque(maxlen=window))
        self._distances: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))

    def add(self, task: str, verdict: Verdict, distance: float | None = None) -> None:
        """Take in a grading of an episode of the task's skill.

        Args:
            task: Its name.
            verdict: What the detector said.
            distance: Of the features; None where only the verdict is known, which alone is watched then.
        """
        self._verdicts[task].append(verdict)
        if distance is not None:
            self._distances[task].append(distance)

    def alarms(self) -> list[str]:
        """Return a sentence for everything that moved, which begins with the task's name."""
        return [
            f'{task}: {what}'
            for task, reference in self._references.items()
            if len(self._verdicts[task]) >= FEWEST
            for what in self._moved(task, reference)
        ]

    def _moved(self, task: str, reference: Reference) -> list[str]:
        found = []
        verdicts = self._verdicts[task]
        for verdict, before in ((Verdict.SUCCESS, reference.success), (Verdict.UNSURE, reference.unsure)):
            now, number = sum(one is verdict for one in verdicts) / len(verdicts), len(verdicts)
            pooled = (now * number + before * reference.episodes) / (number + reference.episodes)
            error = math.sqrt(pooled * (1 - pooled) * (1 / number + 1 / reference.episodes))
            if abs(now - before) > max(RATE_CHANGE[verdict], SURE * error):
                found.append(
                    f'{now:.0%} of the last {number} verdicts are {verdict.name.lower()}, {before:.0%} when it was '
                    'trained'
                )
        if len(self._distances[task]) < FEWEST:
            return found
        logarithms = np.log(list(self._distances[task]))
        change = float(logarithms.mean()) - reference.distance
        error = reference.distance_spread * math.sqrt(1 / len(logarithms) + 1 / reference.episodes)
        if change > max(DISTANCE_CHANGE * reference.distance_spread, SURE * error):
            found.append(
                f'the last {len(logarithms)} images look new, {math.exp(change):.1f} times as far off as usual'
            )
        return found

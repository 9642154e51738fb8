"""How well a detector judges: per-task figures on held-out episodes, and the threshold per task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from mtopt_core.statistics import area_under_curve

DEFAULT_THRESHOLD = 0.5


class TaskMetrics(BaseModel):
    """One task's figures over the held-out episodes of its skill; the others are too easy to count.

    Attributes:
        successes: Episodes whose outcome is success.
        failures: Episodes whose outcome is failure.
        threshold: p(success) from which the verdict is success.
        accuracy: Share of verdicts that are right.
        precision: Share of success verdicts that are right.
        recall: Share of successes found.
        false_positive_rate: Share of failures called success.
        false_positive_rate_elsewhere: The same over the episodes of other skills.
        auc: Probability that a success scores above a failure.

    Rates without a single episode to count are None.
    """

    successes: int
    failures: int
    threshold: float
    accuracy: float | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    false_positive_rate_elsewhere: float | None
    auc: float | None


class Threshold(BaseModel):
    """Where a task's verdict turns to success.

    Attributes:
        value: p(success) from which the verdict is success.
        chosen: Whether validation episodes determined it; otherwise there were too few and it is the default.
    """

    value: float
    chosen: bool


def choose_threshold(probabilities: np.ndarray, outcomes: np.ndarray, false_positive_rate: float) -> Threshold:
    """Choose the lowest threshold, at least one half, that keeps the false-positive rate on these episodes.

    A false success teaches the policy something wrong, a missed one costs an example; so the rate is
    what is held. With fewer failures than `1 / false_positive_rate` it cannot be resolved: the default is kept.

    Args:
        probabilities: `(N,) float`, p(success) of validation episodes.
        outcomes: `(N,)`, 1 for success and 0 for failure.
        false_positive_rate: Largest share of failures that may be called success, in (0, 1).
    """
    failures = np.sort(probabilities[outcomes == 0])[::-1]
    if len(failures) * false_positive_rate < 1:
        return Threshold(value=DEFAULT_THRESHOLD, chosen=False)
    highest_refused = float(failures[math.floor(len(failures) * false_positive_rate)])
    return Threshold(value=max(DEFAULT_THRESHOLD, float(np.nextafter(highest_refused, 2.0))), chosen=True)


def measure(probabilities: np.ndarray, outcomes: np.ndarray, own_skill: np.ndarray, threshold: float) -> TaskMetrics:
    """Measure one task.

    Args:
        probabilities: `(N,) float`, p(success).
        outcomes: `(N,) float`, 1 for success, 0 for failure, NaN where nobody knows.
        own_skill: `(N,) bool`, whether the episode is of the task's skill.
        threshold: p(success) from which the verdict is success.
    """
    verdicts = probabilities >= threshold
    success, failure = (outcomes == 1) & own_skill, (outcomes == 0) & own_skill
    elsewhere = (outcomes == 0) & ~own_skill
    right = (verdicts & success) | (~verdicts & failure)
    known = success | failure
    return TaskMetrics(
        successes=int(success.sum()),
        failures=int(failure.sum()),
        threshold=threshold,
        accuracy=_share(right, known),
        precision=_share(success, verdicts & known),
        recall=_share(verdicts, success),
        false_positive_rate=_share(verdicts, failure),
        false_positive_rate_elsewhere=_share(verdicts, elsewhere),
        auc=area_under_curve(probabilities[known], outcomes[known]),
    )


def measure_tasks(
    tasks: Sequence[str],
    probabilities: np.ndarray,
    outcomes: np.ndarray,
    own_skill: np.ndarray,
    thresholds: Mapping[str, Threshold],
) -> dict[str, TaskMetrics]:
    """Measure every task that has a threshold.

    Args:
        tasks: Task names in one-hot order.
        probabilities: `(N, T) float`, p(success).
        outcomes: `(N, T) float`, 1, 0 or NaN.
        own_skill: `(N, T) bool`.
        thresholds: By task name.
    """
    return {
        task: measure(probabilities[:, t], outcomes[:, t], own_skill[:, t], thresholds[task].value)
        for t, task in enumerate(tasks)
        if task in thresholds
    }


def _share(of: np.ndarray, among: np.ndarray) -> float | None:
    total = int(among.sum())
    return int((of & among).sum()) / total if total else None

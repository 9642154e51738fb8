"""How well a detector judges: per-task figures on held-out episodes, and the two thresholds per task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from mtopt_core.statistics import area_under_curve, wilson_interval
from mtopt_success_detector.calibration import Bin, calibration_curve, expected_calibration_error

DEFAULT_THRESHOLD = 0.5


class TaskMetrics(BaseModel):
    """One task's figures over the held-out episodes of its skill; the others are too easy to count.

    Attributes:
        successes: Episodes whose outcome is success.
        failures: Episodes whose outcome is failure.
        threshold: p(success) from which the verdict is success.
        unsure: Share of verdicts that are unsure; the rates below are over the others, but for the false positives.
        accuracy: Share of verdicts that are right.
        balanced_accuracy: Mean of the shares of successes and of failures that are judged right.
        precision: Share of success verdicts that are right.
        recall: Share of successes found.
        false_positive_rate: Share of all failures called success.
        false_positive_bound: Upper end of its 95 % confidence interval.
        false_positive_rate_elsewhere: The same rate over the episodes of other skills.
        auc: Probability that a success scores above a failure.
        calibration_error: Expected calibration error.
        calibration: The calibration curve.

    Rates without a single episode to count are None.
    """

    model_config = ConfigDict(frozen=True)
    successes: int
    failures: int
    threshold: float
    unsure: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    false_positive_bound: float | None
    false_positive_rate_elsewhere: float | None
    auc: float | None
    calibration_error: float | None
    calibration: list[Bin]


class Threshold(BaseModel):
    """Where a task's verdict turns to success, and where to failure; between the two it is unsure.

    Attributes:
        value: p(success) from which the verdict is success.
        failure: p(success) below which it is failure; at most `value`.
        chosen: Whether validation episodes determined them; otherwise there were too few and both are the default.
    """

    model_config = ConfigDict(frozen=True)
    value: float
    failure: float
    chosen: bool

    def called(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which p(success), of any shape, are called success, and which failure, each of that shape."""
        # Thresholds lie just above a probability: in float32, as which numpy would compare, that is the same number.
        exact = probabilities.astype(np.float64)
        return exact >= self.value, exact < self.failure


MANY = 100
"""Failures of which the highest one can be relied on as a threshold, however low the rate that is asked for."""
DEFAULT = Threshold(value=DEFAULT_THRESHOLD, failure=DEFAULT_THRESHOLD, chosen=False)


def choose_threshold(
    probabilities: np.ndarray, outcomes: np.ndarray, false_positive_rate: float, unsure: float
) -> Threshold:
    """Choose the lowest threshold that keeps the false-positive rate on these episodes.

    A false success teaches the policy something wrong, a missed one costs an example; so the rate is
    what is held. With fewer failures than `1 / false_positive_rate` it cannot be resolved: of `MANY` none may pass
    then; of fewer still, where one odd failure would decide everything, the default is kept.

    Below one half, where calibrated probability says that a failure is likelier, the threshold goes only for successes
    that were seen there, and no lower than the next failure. So rare a task as is solved once in a hundred times hardly
    gets a probability of one half, and would never be solved otherwise.

    Successes that are missed would be false failures: as many of them as the share of unsure verdicts allows are left
    unsure instead, but no more than it takes to miss successes as rarely as failures pass.

    Args:
        probabilities: `(N,) float`, p(success) of validation episodes.
        outcomes: `(N,)`, 1 for success and 0 for failure.
        false_positive_rate: Largest share of failures that may be called success, and of successes that may be called
            failure as long as `unsure` allows, in (0, 1).
        unsure: Largest share of the episodes whose verdict may be unsure.
    """
    failures = np.sort(probabilities[outcomes == 0])[::-1]
    if len(failures) < min(1 / false_positive_rate, MANY):
        return DEFAULT
    highest_refused = float(failures[math.floor(len(failures) * false_positive_rate)])
    successes = np.sort(probabilities[outcomes == 1])
    value = _where_successes_begin(float(np.nextafter(highest_refused, 2.0)), successes, failures)
    below = np.sort(probabilities[probabilities < value])[::-1]
    allowed = math.floor(unsure * len(probabilities))
    lowest_allowed = float(below[allowed - 1]) if 0 < allowed <= len(below) else value if not allowed else 0.0
    if not len(successes):
        return Threshold(value=value, failure=value, chosen=True)
    lowest_found = float(successes[math.floor(len(successes) * false_positive_rate)])
    return Threshold(value=value, failure=min(value, max(lowest_allowed, lowest_found)), chosen=True)


def _where_successes_begin(lowest: float, successes: np.ndarray, failures: np.ndarray) -> float:
    """Return the default threshold, or what is between the lowest allowed one and it and pays, see `choose_threshold`.

    Args:
        lowest: The lowest threshold that keeps the false-positive rate.
        successes: p(success) of the successes.
        failures: p(success) of the failures.
    """
    ahead = max(lowest, float(failures[failures < DEFAULT_THRESHOLD].max(initial=0.0)))
    paying = successes[(successes > ahead) & (successes < DEFAULT_THRESHOLD)]
    return float(paying.min()) if len(paying) else max(DEFAULT_THRESHOLD, lowest)


def measure(
    probabilities: np.ndarray, outcomes: np.ndarray, own_skill: np.ndarray, threshold: Threshold
) -> TaskMetrics:
    """Measure one task.

    Args:
        probabilities: `(N,) float`, p(success).
        outcomes: `(N,) float`, 1 for success, 0 for failure, NaN where nobody knows.
        own_skill: `(N,) bool`, whether the episode is of the task's skill.
        threshold: Where the verdict turns.
    """
    called_success, called_failure = threshold.called(probabilities)
    success, failure = (outcomes == 1) & own_skill, (outcomes == 0) & own_skill
    elsewhere, known, sure = (outcomes == 0) & ~own_skill, success | failure, called_success | called_failure
    recall, specificity = _share(called_success, success & sure), _share(called_failure, failure & sure)
    curve = calibration_curve(probabilities[known], outcomes[known])
    passed, all_failures = int((called_success & failure).sum()), int(failure.sum())
    return TaskMetrics(
        successes=int(success.sum()),
        failures=all_failures,
        threshold=threshold.value,
        unsure=_share(~sure, known),
        accuracy=_share((called_success & success) | (called_failure & failure), known & sure),
        balanced_accuracy=None if recall is None or specificity is None else (recall + specificity) / 2,
        precision=_share(success, called_success & known),
        recall=recall,
        false_positive_rate=_share(called_success, failure),
        false_positive_bound=wilson_interval(passed, all_failures)[1] if all_failures else None,
        false_positive_rate_elsewhere=_share(called_success, elsewhere),
        auc=area_under_curve(probabilities[known], outcomes[known]),
        calibration_error=expected_calibration_error(curve),
        calibration=curve,
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
        probabilities: `(N, T) float`, p(success); what is NaN, because no image shows it, is not counted.
        outcomes: `(N, T) float`, 1, 0 or NaN.
        own_skill: `(N, T) bool`.
        thresholds: By task name.
    """
    seen = np.where(np.isnan(probabilities), np.nan, outcomes)
    return {
        task: measure(probabilities[:, t], seen[:, t], own_skill[:, t], thresholds[task])
        for t, task in enumerate(tasks)
        if task in thresholds
    }


def _share(of: np.ndarray, among: np.ndarray) -> float | None:
    total = int(among.sum())
    return int((of & among).sum()) / total if total else None

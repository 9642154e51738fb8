"""How sure a success rate is, whether one policy beats another on the same seeds, how well a score tells two apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a success rate (Wilson 1927), which holds for few trials too.

    Args:
        successes: Trials that succeeded.
        n: All trials; with none nothing is known.

    Returns:
        Lowest and highest rate, in [0, 1].
    """
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    centre = rate + Z_95**2 / (2 * n)
    margin = Z_95 * math.sqrt(rate * (1 - rate) / n + Z_95**2 / (4 * n**2))
    scale = 1 + Z_95**2 / n
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def difference_interval(successes: int, n: int, other_successes: int, other_n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of the difference of two success rates, the first minus the other.

    Newcombe's hybrid of two Wilson intervals (1998, method 10), which holds for few trials and rates near 0 and 1.

    Args:
        successes: Trials of the first that succeeded.
        n: All trials of the first.
        other_successes: Trials of the other that succeeded.
        other_n: All trials of the other.

    Returns:
        Lowest and highest difference, in [-1, 1]; without trials of one of them nothing is known: -1 and 1.
    """
    if n == 0 or other_n == 0:
        return -1.0, 1.0
    rate, other = successes / n, other_successes / other_n
    low, high = wilson_interval(successes, n)
    other_low, other_high = wilson_interval(other_successes, other_n)
    below = math.hypot(rate - low, other_high - other)
    above = math.hypot(high - rate, other - other_low)
    return rate - other - below, rate - other + above


@dataclass(frozen=True)
class PairedTest:
    """Two policies on the same seeds.

    Attributes:
        only_first: Seeds on which only the first succeeded.
        only_second: Seeds on which only the second succeeded.
        p_value: Probability of a difference at least as large between equally good policies (two-sided).
    """

    only_first: int
    only_second: int
    p_value: float


def paired_test(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """Compare two policies seed by seed by McNemar's exact test.

    Args:
        first: Whether the first policy succeeded, by seed.
        second: The same for the second policy, in the same order.

    Raises:
        ValueError: The two have different lengths.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return PairedTest(only_first, only_second, min(1.0, 2 * tail / 2**differing))


def area_under_curve(scores: np.ndarray, successes: np.ndarray) -> float | None:
    """Return the area under the ROC curve: how often a success scores above a failure, ties counted half.

    Args:
        scores: `(N,) float`.
        successes: `(N,) bool` or 0 and 1.

    Returns:
        In [0, 1]; None where successes or failures are missing.
    """
    positive, negative = scores[successes == 1], np.sort(scores[successes == 0])
    if not positive.size or not negative.size:
        return None
    below = np.searchsorted(negative, positive, 'left') + np.searchsorted(negative, positive, 'right')
    return float(below.mean() / (2 * negative.size))

from __future__ import annotations

import math

import numpy as np
import pytest

from mtopt_core.statistics import area_under_curve, difference_interval, paired_test, wilson_interval


@pytest.mark.parametrize(
    ('successes', 'n', 'low', 'high'),
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_covers_the_rate_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for successes in generator.binomial(50, 0.1, 2000):
        low, high = wilson_interval(int(successes), 50)
        covered += low <= 0.1 <= high
    assert 0.92 < covered / 2000 < 0.98


def test_without_trials_nothing_is_known() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_equal_policies_do_not_differ() -> None:
    same = [True, False] * 10
    assert paired_test(same, same).p_value == 1
    assert paired_test([], []).p_value == 1


def test_only_seeds_on_which_the_two_differ_count() -> None:
    result = paired_test([True] * 10 + [True] * 50, [False] * 10 + [True] * 50)
    assert (result.only_first, result.only_second) == (10, 0)
    assert result.p_value == pytest.approx(2 / 2**10)


def test_the_p_value_is_that_of_the_binomial() -> None:
    result = paired_test([True] * 8 + [False] * 2, [False] * 8 + [True] * 2)
    assert result.p_value == pytest.approx(2 * sum(math.comb(10, k) for k in range(3)) / 2**10)
    assert paired_test([False] * 8 + [True] * 2, [True] * 8 + [False] * 2).p_value == result.p_value


def test_policies_must_have_run_the_same_seeds() -> None:
    with pytest.raises(ValueError):
        paired_test([True], [True, False])


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 20, 200).astype(float)
    successes = generator.random(200) < 0.3
    pairs = scores[successes][:, None] - scores[~successes]
    assert area_under_curve(scores, successes) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_the_area_needs_both_classes() -> None:
    assert area_under_curve(np.ones(3), np.ones(3)) is None
    assert area_under_curve(np.empty(0), np.empty(0)) is None


@pytest.mark.parametrize(
    ('first', 'other', 'low', 'high'),
    [
        # Newcombe (1998), Table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 0), (3, 10), -1.0, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_newcombes(first, other, low, high):
    assert difference_interval(*first, *other) == pytest.approx((low, high), abs=1e-4)

from __future__ import annotations

import numpy as np
import pytest

from mtopt_success_detector.evaluation import DEFAULT_THRESHOLD, choose_threshold, measure


def test_a_threshold_holds_the_false_positive_rate_on_the_validation_failures():
    rng = np.random.default_rng(0)
    outcomes = np.r_[np.zeros(1000), np.ones(100)]
    probabilities = np.r_[rng.beta(2, 3, 1000), rng.beta(5, 2, 100)]
    threshold = choose_threshold(probabilities, outcomes, 0.01)
    passed = (probabilities[:1000] >= threshold.value).sum()
    assert threshold.chosen
    assert passed == 10
    lower = np.sort(probabilities[:1000])[-11]
    assert (probabilities[:1000] >= lower).sum() == 11


def test_a_threshold_is_never_below_one_half():
    outcomes = np.r_[np.zeros(200), np.ones(10)]
    probabilities = np.r_[np.full(200, 0.01), np.full(10, 0.99)]
    assert choose_threshold(probabilities, outcomes, 0.01).value == DEFAULT_THRESHOLD


def test_too_few_failures_leave_the_default_and_say_so():
    threshold = choose_threshold(np.full(99, 0.9), np.zeros(99), 0.01)
    assert (threshold.value, threshold.chosen) == (DEFAULT_THRESHOLD, False)


def test_figures_agree_with_a_count_by_hand():
    #                        own skill: TP   FN   FP   TN   TN  unknown   elsewhere: FP   TN
    probabilities = np.array([0.9, 0.3, 0.8, 0.2, 0.1, 0.9, 0.7, 0.0])
    outcomes = np.array([1, 1, 0, 0, 0, np.nan, 0, 0])
    own_skill = np.array([True] * 6 + [False] * 2)
    metrics = measure(probabilities, outcomes, own_skill, 0.5)
    assert (metrics.successes, metrics.failures) == (2, 3)
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.precision == pytest.approx(1 / 2)
    assert metrics.recall == pytest.approx(1 / 2)
    assert metrics.false_positive_rate == pytest.approx(1 / 3)
    assert metrics.false_positive_rate_elsewhere == pytest.approx(1 / 2)
    assert metrics.auc == pytest.approx(5 / 6)


def test_rates_of_nothing_are_none():
    metrics = measure(np.array([0.9]), np.array([0.0]), np.array([False]), 0.5)
    assert (metrics.accuracy, metrics.precision, metrics.recall, metrics.auc) == (None, None, None, None)

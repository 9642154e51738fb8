from __future__ import annotations

import numpy as np
import pytest

from mtopt_success_detector.evaluation import (
    DEFAULT,
    DEFAULT_THRESHOLD,
    Threshold,
    choose_threshold,
    measure,
    measure_tasks,
)


@pytest.mark.parametrize('kind', [np.float64, np.float32])
def test_a_threshold_holds_the_false_positive_rate_on_the_validation_failures(kind):
    rng = np.random.default_rng(0)
    outcomes = np.r_[np.zeros(1000), np.ones(100)]
    probabilities = np.r_[rng.beta(2, 3, 1000), rng.beta(5, 2, 100)].astype(kind)
    threshold = choose_threshold(probabilities, outcomes, 0.01, 0)
    passed = threshold.called(probabilities[:1000])[0].sum()
    assert threshold.chosen
    assert passed == 10
    lower = np.sort(probabilities[:1000])[-11]
    assert (probabilities[:1000] >= lower).sum() == 11
    assert threshold.failure == threshold.value, 'no verdict may be unsure'


def test_successes_that_would_be_missed_are_unsure_as_far_as_that_is_allowed():
    rng = np.random.default_rng(0)
    outcomes = np.r_[np.zeros(1000), np.ones(200)]
    probabilities = np.r_[rng.beta(2, 8, 1000), rng.beta(5, 2, 200)]
    for allowed in (0.05, 0.1):
        threshold = choose_threshold(probabilities, outcomes, 0.01, allowed)
        unsure = (probabilities >= threshold.failure) & (probabilities < threshold.value)
        assert unsure.sum() == int(allowed * 1200)
    generous = choose_threshold(probabilities, outcomes, 0.01, 0.9)
    assert (probabilities[outcomes == 1] < generous.failure).sum() == 2, 'no more than misses as rare as false alarms'


def test_a_threshold_goes_no_lower_than_a_success_needs():
    outcomes = np.r_[np.zeros(200), np.ones(10)]
    probabilities = np.r_[np.full(200, 0.01), np.full(10, 0.99)]
    assert choose_threshold(probabilities, outcomes, 0.01, 0.03).value == DEFAULT_THRESHOLD


def test_a_rare_task_gets_a_threshold_below_one_half_for_successes_ahead_of_the_failures():
    # One in a hundred is solved: no probability reaches one half, though all successes are ahead of the failures.
    outcomes = np.r_[np.zeros(400), np.ones(4)]
    probabilities = np.r_[np.linspace(0, 0.2, 400), [0.1, 0.25, 0.3, 0.4]]
    threshold = choose_threshold(probabilities, outcomes, 0.01, 0.0)
    assert threshold.value == 0.25
    assert threshold.failure == threshold.value


def test_below_one_half_no_further_failure_passes():
    # The rate of false positives, 3 of 400, would allow 0.3, below which calibration is against it.
    outcomes = np.r_[np.zeros(400), np.ones(2)]
    probabilities = np.r_[np.linspace(0, 0.2, 397), [0.35, 0.35, 0.35], [0.1, 0.3]]
    assert choose_threshold(probabilities, outcomes, 0.01, 0.0).value == DEFAULT_THRESHOLD


def test_too_few_failures_leave_the_default_and_say_so():
    threshold = choose_threshold(np.full(99, 0.9), np.zeros(99), 0.01, 0.03)
    assert (threshold.value, threshold.failure, threshold.chosen) == (DEFAULT_THRESHOLD, DEFAULT_THRESHOLD, False)


def test_of_many_failures_none_passes_where_so_low_a_rate_cannot_be_resolved():
    outcomes = np.r_[np.zeros(120), np.ones(3)]
    probabilities = np.r_[np.linspace(0, 0.8, 120), [0.7, 0.9, 0.95]]
    threshold = choose_threshold(probabilities, outcomes, 0.001, 0.0)
    assert threshold.chosen
    assert 0.8 < threshold.value < 0.9
    assert choose_threshold(probabilities, outcomes, 0.01, 0.0).value < threshold.value
    assert not choose_threshold(probabilities[21:], outcomes[21:], 0.001, 0.0).chosen


def test_what_no_image_shows_is_not_counted():
    probabilities, own = np.array([[0.9], [0.1], [np.nan], [np.nan]]), np.ones((4, 1), bool)
    outcomes = np.array([[1.0], [0.0], [1.0], [0.0]])
    metrics = measure_tasks(['lift-any'], probabilities, outcomes, own, {'lift-any': DEFAULT})['lift-any']
    assert (metrics.successes, metrics.failures) == (1, 1)
    assert metrics.balanced_accuracy == metrics.auc == 1


def test_figures_agree_with_a_count_by_hand():
    #                        own skill: TP   FN  unsure  FP   TN   TN  unknown   elsewhere: FP   TN
    probabilities = np.array([0.9, 0.3, 0.45, 0.8, 0.2, 0.1, 0.9, 0.7, 0.0])
    outcomes = np.array([1, 1, 1, 0, 0, 0, np.nan, 0, 0])
    own_skill = np.array([True] * 7 + [False] * 2)
    metrics = measure(probabilities, outcomes, own_skill, Threshold(value=0.5, failure=0.4, chosen=True))
    assert (metrics.successes, metrics.failures) == (3, 3)
    assert metrics.unsure == pytest.approx(1 / 6)
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.balanced_accuracy == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.precision == pytest.approx(1 / 2)
    assert metrics.recall == pytest.approx(1 / 2)
    assert metrics.false_positive_rate == pytest.approx(1 / 3)
    assert metrics.false_positive_bound == pytest.approx(0.792, abs=0.001)
    assert metrics.false_positive_rate_elsewhere == pytest.approx(1 / 2)
    assert metrics.auc == pytest.approx(7 / 9)


def test_rates_of_nothing_are_none():
    metrics = measure(np.array([0.9]), np.array([0.0]), np.array([False]), DEFAULT)
    assert (metrics.accuracy, metrics.precision, metrics.recall, metrics.auc) == (None, None, None, None)
    assert (metrics.calibration_error, metrics.false_positive_bound, metrics.calibration) == (None, None, [])

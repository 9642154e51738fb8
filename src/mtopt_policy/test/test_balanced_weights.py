"""Weights by which a batch of examples of several tasks stays balanced."""

import numpy as np
import pytest

from mtopt_policy.learner.rebalancing import balanced_weights

SHARES = np.array([[0.2, 0.1], [0.3, 0.1], [0.2, 0.1]])
"""By task and outcome."""

TASKS, SUCCESSES = np.array([0, 1, 0, 1, 2, 1, 0]), np.array([1, 0, 0, 0, 1, 1, 0], bool)
OF, LAST = np.array([0, 0, 1, 1, 2, 3, 3]), np.array([True, True, True, False])


def masses(weights: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return the weight of some examples together, by task and outcome."""
    summed = np.zeros_like(SHARES)
    np.add.at(summed, (TASKS[which], SUCCESSES[which].astype(int)), weights[which])
    return summed


def test_tasks_and_outcomes_have_their_shares_and_last_transitions_theirs():
    weights = balanced_weights(SHARES, TASKS, SUCCESSES, OF, LAST)
    assert weights.sum() == pytest.approx(1)
    for part, share in ((True, 3 / 4), (False, 1 / 4)):
        found = masses(weights, LAST[OF] == part)
        assert found.sum() == pytest.approx(share)
        present = found > 0
        np.testing.assert_allclose(found[present], SHARES[present] / SHARES[present].sum() * share)


def test_examples_of_the_same_task_and_outcome_weigh_the_same():
    weights = balanced_weights(SHARES, TASKS, SUCCESSES, OF, LAST)
    assert weights[1] == weights[3], 'two failures of task 1 that end their episodes'
    assert weights[2] != weights[6], 'the one ends its episode, the other does not'


def test_a_batch_of_last_transitions_only_is_all_there_is():
    weights = balanced_weights(SHARES, TASKS, SUCCESSES, OF, np.ones(4, bool))
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)

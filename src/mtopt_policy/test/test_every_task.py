"""Last transitions are examples of every task, and batches stay balanced."""

import numpy as np
import pytest

from mtopt_core.episode import Verdict
from mtopt_policy.learner.every_task import EveryTask
from mtopt_policy.learner.train_buffer import LabelledTransitions

F, S, N = (int(verdict) for verdict in (Verdict.FAILURE, Verdict.SUCCESS, Verdict.UNSURE))
PLACES = np.array([2, 5, 9])
EXPANDED = np.array([[S, F, N], [F, S, N], [F, F, S]], np.int8)
SHARES = np.array([[0.2, 0.1], [0.3, 0.1], [0.2, 0.1]])


def drawn(episodes: list[int], last: list[bool]) -> tuple[LabelledTransitions, np.ndarray, np.ndarray]:
    """Return transitions, ten rows an episode and the tenth its last, all drawn for task 1 with a target of 0.4."""
    rows = np.array([10 * episode + (9 if is_last else 3) for episode, is_last in zip(episodes, last, strict=True)])
    count = len(episodes)
    labelled = LabelledTransitions(rows, np.ones(count, int), np.zeros(count, bool), np.full(count, 0.4, np.float32))
    return labelled, np.array(episodes), np.array(last)


def test_last_transitions_stand_for_every_task_their_episode_counts_for():
    examples, _ = EveryTask(PLACES, EXPANDED, SHARES).expand(*drawn([5, 9, 2], [True, False, True]))
    found = set(zip(examples.rows.tolist(), examples.tasks.tolist(), examples.targets.tolist(), strict=True))
    assert found == {(93, 1, np.float32(0.4)), (59, 0, 0.0), (59, 1, 1.0), (29, 0, 1.0), (29, 1, 0.0)}
    ended = examples.rows != 93
    assert (examples.successes == (examples.targets == 1))[ended].all()


def test_weights_keep_the_shares_of_tasks_and_outcomes_and_of_last_transitions():
    episodes, last = [2, 2, 5, 9, 9, 5], [True, True, True, True, False, False]
    examples, weights = EveryTask(PLACES, EXPANDED, SHARES).expand(*drawn(episodes, last))
    ended = examples.rows % 10 == 9
    assert weights.sum() == pytest.approx(1)
    assert weights[ended].sum() == pytest.approx(4 / 6)
    masses = np.zeros((3, 2))
    np.add.at(masses, (examples.tasks[ended], examples.successes[ended].astype(int)), weights[ended])
    present = masses > 0
    assert present.tolist() == [[True, True], [True, True], [False, True]]
    np.testing.assert_allclose(masses[present], SHARES[present] / SHARES[present].sum() * 4 / 6, rtol=1e-5)


def test_an_episode_that_is_no_longer_there_stays_what_it_was_drawn_for():
    examples, weights = EveryTask(PLACES, EXPANDED, SHARES).expand(*drawn([7, 11], [True, True]))
    assert examples.rows.tolist() == [79, 119]
    assert examples.tasks.tolist() == [1, 1]
    np.testing.assert_allclose(weights, 0.5)

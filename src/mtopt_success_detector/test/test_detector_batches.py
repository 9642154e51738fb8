from __future__ import annotations

import numpy as np
import pytest

from mtopt_success_detector.batches import BalancedBatches, drop_views, mirror, show

NOBODY_KNOWS = np.nan


def test_every_task_and_verdict_weighs_the_same_however_rare():
    rng = np.random.default_rng(0)
    outcomes = (rng.random((1000, 3)) < (0.5, 0.05, 0.01)).astype(np.float32)
    rows, weights = BalancedBatches(outcomes, np.ones((1000, 3), bool)).draw(60, rng)
    for task in range(3):
        for verdict in (0, 1):
            drawn = outcomes[rows, task] == verdict
            assert weights[drawn, task].sum() == pytest.approx(1 / 6)


def test_failures_are_drawn_from_episodes_of_the_task_s_skill():
    outcomes = np.zeros((100, 1), np.float32)
    outcomes[:10] = 1
    own_skill = np.zeros((100, 1), bool)
    own_skill[:20] = True
    rows, _ = BalancedBatches(outcomes, own_skill).draw(400, np.random.default_rng(0))
    assert set(rows) == set(range(20))


def test_unknown_outcomes_weigh_nothing():
    outcomes = np.array([[1, NOBODY_KNOWS], [0, NOBODY_KNOWS], [0, 1], [1, 0]], np.float32)
    rows, weights = BalancedBatches(outcomes, np.ones((4, 2), bool)).draw(64, np.random.default_rng(0))
    assert (weights[np.isnan(outcomes[rows])] == 0).all()
    assert weights.sum() == pytest.approx(1)


def test_dropping_views_leaves_every_episode_one_it_has():
    present = np.random.default_rng(0).random((500, 3)) < 0.6
    present = present[present.any(axis=1)]
    kept = drop_views(present, 0.9, np.random.default_rng(1))
    assert kept.any(axis=1).all()
    assert not (kept & ~present).any()
    assert kept.sum() < 0.6 * present.sum()


def test_of_another_skill_s_looks_few_images_are_shown():
    present, own = np.ones((400, 2, 3), bool), np.arange(400) % 2
    present[0] = False
    shown = show(present, own, 0.5, np.random.default_rng(2))
    rows = np.arange(400)
    assert not (shown & ~present).any()
    assert shown[rows, own][1:].any(axis=1).all()
    assert 0.05 < shown[rows, 1 - own].mean() < 0.25
    np.testing.assert_array_equal(
        show(present[1:, :1], np.zeros(399, int), 0.5, np.random.default_rng(2))[:, 0],
        drop_views(present[1:, 0], 0.5, np.random.default_rng(2)),
    )


def test_in_a_mirror_what_is_known_of_a_task_is_known_of_the_one_it_becomes():
    outcomes = np.array([[1, 0, 1, 0], [1, 0, 1, 0]], np.float32)
    becomes = (0, 2, 1, None)
    mirrored = mirror(outcomes, np.array([True, False]), becomes)
    assert mirrored.tolist() == [[1, 1, 0, 0], [1, 0, 1, 0]]
    unknown = mirror(np.ones((1, 4), np.float32), np.ones(1, bool), becomes)
    assert unknown.tolist() == [[1, 1, 1, 0]], 'nobody knows what the last one becomes'

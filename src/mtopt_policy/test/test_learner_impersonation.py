"""Impersonation and re-balancing against the paper's definitions (section IV-B)."""

import numpy as np
import pytest

from mtopt_core.errors import UnknownTaskError
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.impersonation import (
    ImpersonatedEpisode,
    Impersonation,
    LoggedEpisode,
    impersonate,
    impersonated_tasks,
)
from mtopt_policy.learner.rebalancing import Rebalancing, TaskBalance
from mtopt_policy.learner.task_buffers import FAILURE, SUCCESS, TaskBuffers

TASKS = load_tasks()


def test_without_impersonation_an_episode_trains_its_own_task_only():
    assert impersonated_tasks('lift-can', Impersonation.NONE, TASKS) == ('lift-can',)


def test_full_impersonation_trains_every_task():
    assert impersonated_tasks('lift-can', Impersonation.ALL, TASKS) == TASKS.names


def test_skill_impersonation_trains_the_tasks_of_the_skill():
    assert impersonated_tasks('place-any', Impersonation.SKILL, TASKS) == (
        'place-any', 'place-bottom', 'place-top-left', 'place-top-right',
    )  # fmt: skip


def test_an_impersonated_episode_is_a_success_or_a_failure_by_that_tasks_own_outcome():
    episode = LoggedEpisode(7, 'lift-milk', {'lift-any': True, 'lift-milk': False, 'lift-can': True})
    assert impersonate(episode, Impersonation.SKILL, TASKS) == [
        ImpersonatedEpisode(7, 'lift-any', True),
        ImpersonatedEpisode(7, 'lift-milk', False),
        ImpersonatedEpisode(7, 'lift-can', True),
    ]


def test_of_sister_tasks_only_the_successes_can_be_shared():
    episode = LoggedEpisode(7, 'lift-milk', {'lift-any': True, 'lift-milk': False, 'lift-can': False})
    assert impersonate(episode, Impersonation.SUCCESSES, TASKS) == [
        ImpersonatedEpisode(7, 'lift-any', True),
        ImpersonatedEpisode(7, 'lift-milk', False),
    ]


def test_a_task_nobody_judged_gets_no_example():
    episode = LoggedEpisode(7, 'lift-milk', {'place-any': False})
    assert impersonate(episode, Impersonation.SKILL, TASKS) == []
    assert impersonate(episode, Impersonation.ALL, TASKS) == [ImpersonatedEpisode(7, 'place-any', False)]


def test_an_episode_of_an_unknown_task_is_an_error():
    with pytest.raises(UnknownTaskError, match='fold-cloth'):
        impersonate(LoggedEpisode(0, 'fold-cloth', {}), Impersonation.SKILL, TASKS)


def buffers() -> TaskBuffers:
    """lift-any 90 failures 10 successes, lift-milk 5 and 1, lift-box failures only, lift-can successes only."""
    counts = {'lift-any': (90, 10), 'lift-milk': (5, 1), 'lift-box': (4, 0), 'lift-can': (0, 3)}
    episodes = [
        ImpersonatedEpisode(100 * TASKS.index(task) + number, task, number >= failures)
        for task, (failures, successes) in counts.items()
        for number in range(failures + successes)
    ]
    return TaskBuffers.of(episodes, TASKS)


def test_task_buffers_hold_references_split_by_outcome():
    groups = buffers().groups[TASKS.index('lift-milk')]
    np.testing.assert_array_equal(groups[FAILURE], [100, 101, 102, 103, 104])
    np.testing.assert_array_equal(groups[SUCCESS], [105])
    assert groups[SUCCESS].dtype == np.int32


def test_every_task_with_data_gets_an_equal_share_and_a_constant_share_of_successes():
    shares = Rebalancing().shares(buffers().sizes)
    assert shares.sum() == pytest.approx(1)
    expected = {'lift-any': (1 / 8, 1 / 8), 'lift-milk': (1 / 8, 1 / 8), 'lift-box': (1 / 4, 0), 'lift-can': (0, 1 / 4)}
    for task in TASKS.names:
        assert shares[TASKS.index(task)] == pytest.approx(expected.get(task, (0, 0)))


def test_the_success_share_is_a_parameter():
    shares = Rebalancing(success_share=0.2).shares(buffers().sizes)
    assert shares[TASKS.index('lift-any')] == pytest.approx((0.25 * 0.8, 0.25 * 0.2))


def test_without_rebalancing_the_batch_is_as_the_data_are():
    sizes = buffers().sizes
    shares = Rebalancing(tasks=TaskBalance.UNIFORM, success_share=None).shares(sizes)
    np.testing.assert_allclose(shares, sizes / sizes.sum())


def test_each_single_batch_is_balanced():
    tasks, outcomes = Rebalancing().draw(buffers().sizes, 96, np.random.default_rng(0))
    counts = np.zeros((len(TASKS), 2), int)
    np.add.at(counts, (tasks, outcomes), 1)
    assert (counts[TASKS.index('lift-any')] == 12).all()
    assert counts[TASKS.index('lift-box')].tolist() == [24, 0]
    assert counts[TASKS.index('lift-can')].tolist() == [0, 24]


def test_a_group_that_is_less_than_one_transition_of_a_batch_is_drawn_at_its_rate():
    rng, rebalancing, sizes = np.random.default_rng(0), Rebalancing(success_share=0.01), buffers().sizes
    drawn = 0
    for _ in range(2000):
        tasks, outcomes = rebalancing.draw(sizes, 10, rng)
        drawn += np.sum((tasks == TASKS.index('lift-any')) & (outcomes == SUCCESS))
    assert drawn == pytest.approx(2000 * 10 * 0.25 * 0.01, rel=0.4)


def test_sampling_draws_uniformly_from_the_group_asked_for():
    tasks = np.full(2000, TASKS.index('lift-milk'))
    outcomes = np.arange(2000) % 2
    episodes = buffers().sample(tasks, outcomes, np.random.default_rng(0))
    assert set(episodes[outcomes == SUCCESS]) == {105}
    counts = np.bincount(episodes[outcomes == FAILURE])[100:]
    assert counts.sum() == 1000
    assert (abs(counts - 200) < 60).all()

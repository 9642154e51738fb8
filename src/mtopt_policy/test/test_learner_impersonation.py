"""Impersonation and re-balancing against the paper's definitions (section IV-B)."""

import numpy as np
import pytest

from mtopt_core.episode import Verdict
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.impersonation import Impersonation, LoggedEpisodes, impersonate
from mtopt_policy.learner.rebalancing import Rebalancing, TaskBalance
from mtopt_policy.learner.task_buffers import FAILURE, SUCCESS, TaskBuffers

TASKS = load_tasks()


def logged(task: str, outcomes: dict[str, bool]) -> LoggedEpisodes:
    row = np.full((1, len(TASKS)), Verdict.UNSURE, np.int8)
    for name, success in outcomes.items():
        row[0, TASKS.index(name)] = Verdict(success)
    return LoggedEpisodes(np.array([7]), np.array([TASKS.index(task)]), row)


def examples(task: str, outcomes: dict[str, bool], strategy: Impersonation) -> dict[str, bool]:
    """Return for which tasks an episode is an example, and whether a success."""
    expanded = impersonate(logged(task, outcomes), strategy, TASKS)[0]
    return {name: bool(verdict) for name, verdict in zip(TASKS.names, expanded, strict=True) if verdict < 2}


EVERY = dict.fromkeys(TASKS.names, False)


def test_without_impersonation_an_episode_trains_its_own_task_only():
    assert tuple(examples('lift-can', EVERY, Impersonation.NONE)) == ('lift-can',)


def test_full_impersonation_trains_every_task():
    assert tuple(examples('lift-can', EVERY, Impersonation.ALL)) == TASKS.names


def test_skill_impersonation_trains_the_tasks_of_the_skill():
    assert tuple(examples('place-any', EVERY, Impersonation.SKILL)) == (
        'place-any', 'place-bottom', 'place-top-left', 'place-top-right',
    )  # fmt: skip


def test_an_impersonated_episode_is_a_success_or_a_failure_by_that_tasks_own_outcome():
    outcomes = {'lift-any': True, 'lift-milk': False, 'lift-can': True}
    assert examples('lift-milk', outcomes, Impersonation.SKILL) == outcomes


def test_of_sister_tasks_only_the_successes_can_be_shared():
    outcomes = {'lift-any': True, 'lift-milk': False, 'lift-can': False}
    assert examples('lift-milk', outcomes, Impersonation.SUCCESSES) == {'lift-any': True, 'lift-milk': False}


def test_by_gain_an_episode_trains_its_own_task_and_those_that_gain_from_it():
    gains = np.zeros((1, len(TASKS)), bool)
    gains[0, [TASKS.index('lift-can'), TASKS.index('place-any'), TASKS.index('lift-box')]] = True
    outcomes = {'lift-milk': False, 'lift-can': True, 'lift-any': True, 'place-any': False}
    expanded = impersonate(logged('lift-milk', outcomes), Impersonation.GAIN, TASKS, gains)[0]
    expected = {'lift-milk': Verdict.FAILURE, 'lift-can': Verdict.SUCCESS, 'place-any': Verdict.FAILURE}
    assert expanded.tolist() == [expected.get(name, Verdict.UNSURE) for name in TASKS.names]


def test_a_task_nobody_judged_gets_no_example():
    assert examples('lift-milk', {'place-any': False}, Impersonation.SKILL) == {}
    assert examples('lift-milk', {'place-any': False}, Impersonation.ALL) == {'place-any': False}


def test_episodes_are_impersonated_each_by_its_own_task():
    first, second = logged('lift-can', {'lift-can': True}), logged('place-any', {'place-any': False})
    together = LoggedEpisodes(
        np.array([0, 1]), np.append(first.tasks, second.tasks), np.concatenate([first.outcomes, second.outcomes])
    )
    expanded = impersonate(together, Impersonation.SKILL, TASKS)
    np.testing.assert_array_equal(expanded, together.outcomes)


def buffers() -> TaskBuffers:
    """lift-any 90 failures 10 successes, lift-milk 5 and 1, lift-box failures only, lift-can successes only."""
    counts = {'lift-any': (90, 10), 'lift-milk': (5, 1), 'lift-box': (4, 0), 'lift-can': (0, 3)}
    places, rows = [], []
    for task, (failures, successes) in counts.items():
        for number in range(failures + successes):
            places.append(100 * TASKS.index(task) + number)
            rows.append(logged(task, {task: number >= failures}).outcomes)
    return TaskBuffers.of(np.array(places), np.concatenate(rows))


def test_task_buffers_hold_references_split_by_outcome():
    milk = TASKS.index('lift-milk')
    np.testing.assert_array_equal(buffers().group(milk, FAILURE), [100, 101, 102, 103, 104])
    np.testing.assert_array_equal(buffers().group(milk, SUCCESS), [105])


def test_impersonating_an_episode_costs_one_small_integer_per_task():
    every = impersonate(logged('lift-can', EVERY), Impersonation.ALL, TASKS)
    assert TaskBuffers.of(np.array([7]), every).episodes.nbytes == 4 * len(TASKS)


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

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mtopt_collector.curriculum import Chooser, Curriculum, Record, load_curriculum
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import load_tasks

TASKS = load_tasks()
LIFTS = TASKS.of_skill('lift')


def write(folder, text):
    path = folder / 'curriculum.yaml'
    path.write_text(text)
    return str(path)


def test_the_shipped_rules_fit_the_shipped_tasks_and_collect_by_the_script_first():
    chooser = Chooser(load_curriculum('', 'robot1', TASKS))
    assert set(chooser.shares('lift-can', have_learned=True)) == {'scripted', 'learned'}
    assert chooser.shares('lift-can', have_learned=True)['scripted'] > 0.5
    assert chooser.shares('lift-can', have_learned=False) == {'scripted': 1.0}


def test_a_robot_s_own_rules_replace_those_of_all(tmp_path):
    file = write(tmp_path, 'exploration: 0.1\nrobots: {robot2: {exploration: 0.3}}\n')
    assert load_curriculum(file, 'robot1', TASKS).exploration == 0.1
    assert load_curriculum(file, 'robot2', TASKS).exploration == 0.3


@pytest.mark.parametrize(
    ('text', 'named'),
    [
        ('tasks: {lift-anvil: {}}', 'lift-anvil'),
        ('sources: {before: {guessing: 1.0}}', 'guessing'),
        ('tasks: {lift-can: {before: {"learned:lift-anvil": 1.0}}}', 'lift-anvil'),
        ('tasks: {lift-can: {before: {"learned:place-any": 1.0}}}', 'same skill'),
        ('tasks: {lift-can: {before: {scripted: 0.0}}}', 'no policy has a share'),
        ('exploration: 2', 'exploration'),
        ('choice: {prettiest: 1}', 'prettiest'),
        ('choice: {uniform: -1}', 'uniform'),
        ('- a list', 'table'),
    ],
)
def test_rules_that_cannot_be_are_refused_by_file_and_name(tmp_path, text, named):
    with pytest.raises(ConfigurationError, match=named) as error:
        load_curriculum(write(tmp_path, text), 'robot1', TASKS)
    assert 'curriculum.yaml' in str(error.value)


def test_a_task_goes_over_at_parity_stays_while_unsure_and_goes_back_when_it_falls():
    chooser = Chooser(Curriculum())
    task = 'lift-can'

    def at_parity(learned, others):
        chooser.learn({task: Record(learned=learned, others=others)})
        return task in chooser.at_parity

    assert not at_parity((29, 29), (200, 20)), 'too few episodes to tell'
    assert not at_parity((40, 8), (200, 40)), 'equal rates, but the interval reaches far below'
    assert at_parity((200, 60), (200, 40))
    assert at_parity((200, 36), (200, 40)), 'a little worse is no proof that it fell'
    assert not at_parity((200, 10), (200, 40))
    assert not at_parity((200, 36), (200, 40))


def test_a_policy_that_never_succeeds_is_not_at_parity_with_others_that_hardly_do():
    chooser = Chooser(Curriculum())

    def at_parity(learned, others):
        chooser.learn({'lift-can': Record(learned=learned, others=others)})
        return 'lift-can' in chooser.at_parity

    assert not at_parity((30, 0), (200, 3))
    assert not at_parity((200, 0), (200, 0))
    assert not at_parity((200, 3), (200, 8)), 'less than half as often'
    assert at_parity((30, 5), (200, 3))
    assert not at_parity((200, 1), (200, 3)), 'what it once could it can no more'


def test_parity_changes_whose_policy_acts_and_only_learned_episodes_explore():
    chooser = Chooser(Curriculum(exploration=0.1))
    before = Counter(chooser.policy('lift-can', seed, True).policy for seed in range(500))
    chooser.at_parity.add('lift-can')
    after = [chooser.policy('lift-can', seed, True) for seed in range(500)]
    assert 350 < before['scripted'] < 450
    assert 450 < sum(one.policy == 'learned' for one in after) < 500
    assert {(one.policy, one.exploration) for one in after} == {('scripted', 0.0), ('learned', 0.1)}
    assert chooser.policy('lift-can', 3, True) == chooser.policy('lift-can', 3, True)


@pytest.mark.parametrize(
    ('way', 'needy'),
    [
        ('least_data', Record(attempts=1, idle=3, learned=(50, 40))),
        ('least_success', Record(attempts=100, idle=3, learned=(50, 1))),
        ('stalest', Record(attempts=100, idle=30, learned=(50, 40))),
    ],
)
def test_a_task_in_need_is_chosen_more_often_and_no_task_never(way, needy):
    usual = Record(attempts=100, idle=3, learned=(50, 40))
    weights = dict.fromkeys(('uniform', 'least_data', 'least_success', 'stalest'), 0.0)
    chooser = Chooser(Curriculum(choice={**weights, way: 1.0}), dict.fromkeys(LIFTS, usual) | {'lift-box': needy})
    chances = chooser.chances(LIFTS)
    assert sum(chances.values()) == pytest.approx(1)
    others = {chance for task, chance in chances.items() if task != 'lift-box'}
    assert chances['lift-box'] > 3 * max(others)
    assert min(others) > 0
    drawn = Counter(chooser.task(LIFTS, np.random.default_rng(seed)) for seed in range(400))
    assert drawn.most_common(1)[0][0] == 'lift-box'

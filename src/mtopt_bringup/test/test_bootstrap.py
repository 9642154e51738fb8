"""A bootstrap is scripted episodes, then learning and collecting in turn, on series that no other bootstrap shares."""

import shlex
from dataclasses import replace

import pytest

from mtopt_bringup.bootstrap import Plan, Size, stages_of
from mtopt_bringup.stages import StageRecord, State, require_same
from mtopt_core.errors import ConfigurationError


def commands(tmp_path, seed=0):
    plan = Plan(tmp_path, Size(scripted=40, rounds=2, episodes=20, steps=100), seed)
    return {stage.name: stage.arguments() for stage in stages_of(plan)}


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


def test_learning_and_collecting_take_turns_after_the_scripts(tmp_path):
    assert list(commands(tmp_path)) == ['scripted', 'train-1', 'collect-1', 'train-2', 'collect-2']


def test_training_goes_on_from_round_to_round(tmp_path):
    found = commands(tmp_path)
    assert option(found['train-1'], '--out') == option(found['train-2'], '--out')
    assert [option(found[f'train-{number}'], '--steps') for number in (1, 2)] == ['100', '200']


def test_no_two_collections_share_their_episodes(tmp_path):
    collecting = [commands(tmp_path, seed)[name] for seed in (0, 1) for name in ('scripted', 'collect-1', 'collect-2')]
    assert len({option(arguments, '--seed') for arguments in collecting}) == len(collecting)


def test_the_scripts_collect_first_and_the_newest_policy_afterwards(tmp_path):
    found = commands(tmp_path)
    assert '--policy' not in found['scripted']
    assert option(found['collect-2'], '--policy') == 'learned'
    assert option(found['collect-2'], '--checkpoint') == str(tmp_path / 'models' / 'policy')


def test_a_changed_option_is_refused_where_its_stage_was_carried_out_without_it(tmp_path):
    path = tmp_path / 'bootstrap.json'
    plan = Plan(tmp_path, Size(scripted=40, rounds=1, episodes=20, steps=100), seed=3, workers=2)
    records = [
        StageRecord(name=stage.name, title='', command=shlex.join(['mtopt', *stage.arguments()]), seconds=1.0)
        for stage in stages_of(plan)
    ]
    state = State(stages=records)
    more = replace(plan, size=replace(plan.size, rounds=2), workers=4, threads=1, out=tmp_path / 'moved')
    for same in (plan, more):
        require_same(stages_of(same), state, path)
    longer = replace(plan, size=replace(plan.size, steps=200))
    with pytest.raises(ConfigurationError, match=r"bootstrap\.json: stage 'train-1' .*: --steps 100, now 200\. Give"):
        require_same(stages_of(longer), state, path)
    require_same(stages_of(longer), State(stages=records[:1]), path)
    # An option that came with a newer version of mtopt is no other option.
    older = [replaced.model_copy(update={'command': replaced.command.replace(' --tasks-file tasks.yaml', '')})
             for replaced in records]  # fmt: skip
    require_same(stages_of(plan), State(stages=older), path)

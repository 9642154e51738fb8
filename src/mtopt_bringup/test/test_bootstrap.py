"""A bootstrap is scripted episodes, then learning and collecting in turn, on series that no other bootstrap shares."""

from mtopt_bringup.bootstrap import Plan, Size, stages_of


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

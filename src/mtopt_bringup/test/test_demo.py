"""The demo goes on where it stopped, and from round to round."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mtopt_bringup.demo import QUICK, stages_of
from mtopt_bringup.stages import StageRecord, State
from mtopt_core.cadence import cadence_file
from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import DataFolder


def commands(out, round_number=1):
    return {stage.name: stage.arguments() for stage in stages_of(out, round_number, QUICK, workers=1)}


def note_episodes(out, policy, number):
    line = {'episode_id': 'e', 'policy': policy, 'steps': 5, 'seconds': 1.0, 'decision_time': 0.0}
    line |= {'image_age': None, 'messages': 5, 'dropped': 0}
    with cadence_file(DataFolder(out)).open('a') as file:
        file.write((json.dumps(line) + '\n') * number)


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


def test_a_stage_through_the_graph_collects_only_what_its_round_lacks(tmp_path):
    assert option(commands(tmp_path)['collect'], '--episodes') == str(QUICK.collected)
    note_episodes(tmp_path, 'scripted', QUICK.collected - 2)
    assert option(commands(tmp_path)['collect'], '--episodes') == '2'
    note_episodes(tmp_path, 'scripted', 2)
    assert commands(tmp_path)['collect'] is None
    assert option(commands(tmp_path)['act'], '--episodes') == str(QUICK.learned)
    assert option(commands(tmp_path, 2)['collect'], '--episodes') == str(QUICK.collected)


def test_every_round_adds_other_episodes_and_goes_on_training(tmp_path):
    first, second = commands(tmp_path, 1), commands(tmp_path, 2)
    assert option(first['simulate'], '--seed') != option(second['simulate'], '--seed')
    assert int(option(second['policy'], '--steps')) == 2 * int(option(first['policy'], '--steps'))
    assert option(first['evaluate'], '--json') != option(second['evaluate'], '--json')


def test_the_simulators_truth_grades_only_until_there_is_a_detector(tmp_path):
    assert option(commands(tmp_path)['collect'], '--grade-with') == 'simulator'
    checkpoint = tmp_path / 'models' / 'success_detector' / '20261123T000000_000001'
    checkpoint.mkdir(parents=True)
    (checkpoint / 'manifest.json').touch()
    assert option(commands(tmp_path)['collect'], '--grade-with') == 'detector'


def test_the_state_survives_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / 'state.json'
    assert State.load(path) == State()
    state = State(round=3, stages=[StageRecord(name='collect', title='Collect', command='mtopt run', seconds=1.5)])
    state.save(path)
    assert State.load(path) == state
    path.write_text('{"round": "many"}')
    with pytest.raises(ConfigurationError, match=r'state\.json'):
        State.load(path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_demo_with_its_data_and_the_word_how_to_go_on(tmp_path, number):
    command = [sys.executable, '-m', 'mtopt_core.cli', 'demo', '--out', str(tmp_path), '--quick', '--simulated', '5000']
    note_episodes(tmp_path, 'scripted', QUICK.collected)
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        bags = DataFolder(tmp_path).bags
        deadline = time.monotonic() + 120
        while not bags.is_dir() or not list(bags.glob('2*')):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # A terminal sends it to every process of the foreground, a service manager to the first.
        os.killpg(demo.pid, number) if number == signal.SIGINT else os.kill(demo.pid, number)
        output, _ = demo.communicate(timeout=60)
    finally:
        # Its workers die with it.
        demo.kill()
        demo.wait()
    assert demo.returncode == 130
    assert 'goes on from here' in output
    assert [record.name for record in State.load(tmp_path / 'state.json').stages] == ['collect']

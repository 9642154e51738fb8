"""`mtopt train` as a person runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from mtopt_core.checkpoint import WEIGHTS_FILE, newest_checkpoint
from mtopt_core.environment import variables


def train(data: Path, out: Path, *options: object) -> list[str]:
    """Return the command line for a quick training."""
    arguments = ('--bags', data, '--out', out, '--outcomes', 'simulator', '--threads', 1, '--set', 'batch=8', *options)
    return [sys.executable, '-m', 'mtopt_core.cli', 'train', *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | variables() | {'OMP_NUM_THREADS': '1', 'COLUMNS': '200'}


def test_train_says_what_it_learns_from_and_what_that_takes_on_disk(record, tmp_path):
    data = record(10).data.root
    command = train(data, tmp_path / 'out', '--steps', 2, '--tasks', 'lift-can', '--no-follow')
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '10 episodes to learn from' in done.stdout
    assert 'learning only lift-can' in done.stdout
    assert f'episode store of 10 episodes: 0.00 GB in {data}/replay' in done.stdout
    assert '2 steps in all' in done.stdout


def states(out: Path) -> list[Path]:
    return sorted(path for path in (out / 'trainer').glob('*_*') if not path.name.startswith('.'))


def test_a_training_that_is_killed_and_started_again_ends_with_the_weights_of_one_that_was_not(record, tmp_path):
    data = record(20).data.root
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    steady = ('--no-follow', '--steps', 60)
    subprocess.run(train(data, whole, *steady), env=environment(), check=True, capture_output=True)

    # It exports after every step, so that the kill comes amid a step or an export.
    command = train(data, killed, *steady, '--set', 'export_seconds=0.001')
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as process:
        while len(found := states(killed)) < 2 or not found[-1].name.endswith(('7', '8', '9')):
            assert process.poll() is None, 'it ended before it could be killed'
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert int(states(killed)[-1].name[-6:]) < 60

    subprocess.run(train(data, killed, *steady), env=environment(), check=True, capture_output=True)
    for kind in ('trainer', 'policy'):
        expected = load_file(newest_checkpoint(whole / kind) / WEIGHTS_FILE)
        found = load_file(newest_checkpoint(killed / kind) / WEIGHTS_FILE)
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True, msg=name)

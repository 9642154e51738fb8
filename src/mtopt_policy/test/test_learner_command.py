"""`mtopt train` as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

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

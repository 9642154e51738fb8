"""`mtopt run` as a person starts it: until every episode is there, and until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mtopt_core.bag import partial_bags
from mtopt_core.environment import free_domain
from mtopt_core.episode import Termination
from mtopt_core.episode_bag import episode_ids, read_episode
from mtopt_core.paths import DataFolder

TIMEOUT = 180.0


@contextmanager
def running(data: DataFolder, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the graph of a simulated cell; what is left of it at the end is killed."""
    command = [sys.executable, '-m', 'mtopt_core.cli', 'run', '--data', str(data.root), '--image-size', '48']
    process = subprocess.Popen(
        [*command, '--grade-with', 'simulator', *options],
        env={**os.environ, 'ROS_DOMAIN_ID': str(free_domain()), 'COLUMNS': '300'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()  # its nodes die with it
        process.wait()


def left_behind(data: DataFolder) -> list[bytes]:
    """Return the command lines of processes that were told to work on a folder."""
    lines = []
    for file in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            lines.append(file.read_bytes())
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in lines if os.fsencode(data.root) in line]


def assert_ended_well(data: DataFolder, process: subprocess.Popen[str]) -> str:
    """See that it ended, that every bag is whole and no node is left; return what it printed."""
    printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, printed
    assert 'control steps per second' in printed
    assert not partial_bags(data.bags)
    assert left_behind(data) == []
    return printed


@pytest.fixture
def data(tmp_path) -> DataFolder:
    return DataFolder(tmp_path / 'cell')


def test_it_ends_by_itself_with_as_many_bags_as_it_was_told_and_their_cadence(data):
    with running(data, '--episodes', '2') as process:
        printed = assert_ended_well(data, process)
    assert 'stopped' not in printed
    episodes = [read_episode(data.bags / episode_id) for episode_id in episode_ids(data.bags)]
    assert len(episodes) == 2
    assert all(episode.info.termination is not Termination.ABORTED for episode in episodes)


def test_it_goes_on_until_it_is_interrupted_and_leaves_nothing_half_done(data):
    with running(data) as process:
        deadline = time.monotonic() + TIMEOUT
        while len(episode_ids(data.bags)) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed = assert_ended_well(data, process)
    assert f'stopped; everything collected is in {data.root}' in ' '.join(printed.split())

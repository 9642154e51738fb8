"""The supervisor with a real node that is killed, frozen, and dies again and again."""

import contextlib
import os
import signal
import time

import pytest
from small_disk import small_disk

from mtopt_bringup.graph import NodeSpec
from mtopt_bringup.launcher import Launcher, NodeDiedError
from mtopt_bringup.run_node import StatusListener
from mtopt_bringup.supervisor import RESPAWNS, Supervisor, silences
from mtopt_core.environment import free_domain

TIMEOUT = 40.0
NAME = '/robot1/recorder'


class Watched:
    """A recorder that is watched over."""

    def __init__(self, folder, environment, spare=False):
        parameters = {'data_folder': str(folder)}
        spec = NodeSpec('mtopt_collector', 'recorder_node', 'recorder', '/robot1', parameters, spare=spare)
        self.launcher = Launcher([spec], folder / 'log', environment)
        self.listener = StatusListener(['robot1'], silences([spec]))

    def __enter__(self):
        self.launcher.__enter__()
        self.listener.__enter__()
        self.supervisor = Supervisor(self.launcher, self.listener.heartbeats, time.monotonic())
        try:
            self.tend_until(self.alive)
        except BaseException:
            self.__exit__()  # else the tests that come would find ROS in use
            raise
        return self

    def __exit__(self, *error):
        self.listener.__exit__(*(error or (None,) * 3))
        self.launcher.__exit__(*(error or (None,) * 3))

    @property
    def process(self):
        return self.launcher.nodes[0].process

    def alive(self):
        life = self.listener.heartbeats.heard(NAME)
        return life is not None and life.pid == self.process.pid

    def tend_until(self, condition):
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline
            self.listener.listen(0.05)
            self.supervisor.tend(time.monotonic())


@pytest.fixture
def watched(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    with Watched(tmp_path, os.environ) as watched:
        yield watched


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP])
def test_a_node_that_is_killed_or_frozen_is_started_again(watched, number):
    before = watched.process
    before.send_signal(number)
    watched.tend_until(lambda: watched.process is not before and watched.alive())
    assert before.poll() == -signal.SIGKILL
    assert watched.supervisor.respawned == {NAME: 1}


def test_a_node_that_is_killed_is_started_again_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    with small_disk(tmp_path / 'disk', '1m', held=True) as disk, Watched(disk, os.environ, spare=True) as watched:
        with contextlib.suppress(OSError), (disk / 'ballast').open('wb', buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        with contextlib.suppress(OSError), watched.launcher.nodes[0].log.open('ab', buffering=0) as log:
            while True:
                log.write(b'.')  # what the log's last page would still take
        for _ in range(2):
            before = watched.process
            before.kill()
            watched.tend_until(lambda before=before: watched.process is not before and watched.alive())


def test_a_spare_takes_the_place_of_a_node_that_died_and_ends_with_its_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    with Watched(tmp_path, os.environ, spare=True) as watched:
        (spare,) = (one.process for one in watched.launcher._spares.values())
        watched.process.kill()
        watched.tend_until(lambda: watched.process is spare and watched.alive())
        (next_spare,) = (one.process for one in watched.launcher._spares.values())
        assert next_spare.poll() is None
    assert spare.returncode == 0
    assert next_spare.returncode is not None


def test_a_node_that_dies_again_and_again_is_given_up_with_its_log(watched):
    now = time.monotonic()
    for _ in range(RESPAWNS):
        watched.process.kill()
        watched.process.wait()
        watched.supervisor.tend(now)
    watched.process.kill()
    watched.process.wait()
    with pytest.raises(NodeDiedError, match=r'recorder ended with status -9, 7 times within 120 s; given up') as error:
        watched.supervisor.tend(now)
    assert 'robot1.recorder.log' in str(error.value)


def test_a_node_that_cannot_start_is_not_started_again(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    parameters = {'cell_file': str(tmp_path / 'missing.yaml'), 'data_folder': str(tmp_path)}
    spec = NodeSpec('mtopt_collector', 'recorder_node', 'recorder', '/robot1', parameters)
    listener = StatusListener(['robot1'], silences([spec]))
    with Launcher([spec], tmp_path / 'log', os.environ) as launcher:
        launcher.nodes[0].process.wait(TIMEOUT)
        with pytest.raises(NodeDiedError, match=r'missing\.yaml'):
            Supervisor(launcher, listener.heartbeats, 0.0).tend(0.0)

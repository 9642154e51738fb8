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
    """A recorder that is watched over, or one of each of several robots."""

    def __init__(self, folder, environment, spare=False, robots=('robot1',)):
        parameters = {'data_folder': str(folder)}
        specs = [
            NodeSpec('mtopt_collector', 'recorder_node', 'recorder', f'/{robot}', parameters, spare=spare)
            for robot in robots
        ]
        self.launcher = Launcher(specs, folder / 'log', environment)
        self.listener = StatusListener(robots, silences(specs))

    def __enter__(self):
        self.launcher.__enter__()
        self.listener.__enter__()
        self.supervisor = Supervisor(self.launcher, self.listener.heartbeats, time.monotonic())
        try:
            self.tend_until(lambda: all(self.alive(number) for number in range(len(self.launcher.nodes))))
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

    def alive(self, number=0):
        node = self.launcher.nodes[number]
        life = self.listener.heartbeats.heard(node.spec.full_name)
        return life is not None and life.pid == node.process.pid

    def die_again_and_again(self, number=0):
        """Kill a node as soon as it was started again, as often as is too often."""
        now = time.monotonic()
        for _ in range(RESPAWNS + 1):
            process = self.launcher.nodes[number].process
            process.kill()
            process.wait()
            self.supervisor.tend(now)

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
    with pytest.raises(NodeDiedError, match=r'recorder ended with status -9, 7 times within 120 s; given up') as error:
        watched.die_again_and_again()
    assert watched.supervisor.respawned == {NAME: RESPAWNS}
    assert 'robot1.recorder.log' in str(error.value)


def test_a_node_that_is_given_up_stops_its_own_robot_only(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    with Watched(tmp_path, os.environ, robots=('robot1', 'robot2')) as watched:
        watched.die_again_and_again(0)
        assert list(watched.supervisor.given_up) == [NAME]
        before = watched.launcher.nodes[1].process
        before.kill()
        watched.tend_until(lambda: watched.launcher.nodes[1].process is not before and watched.alive(1))
        assert watched.process.poll() is not None
        with pytest.raises(NodeDiedError, match=r'/robot1/recorder(.|\n)*/robot2/recorder'):
            watched.die_again_and_again(1)


def test_a_node_that_cannot_start_is_not_started_again(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    parameters = {'cell_file': str(tmp_path / 'missing.yaml'), 'data_folder': str(tmp_path)}
    spec = NodeSpec('mtopt_collector', 'recorder_node', 'recorder', '/robot1', parameters)
    listener = StatusListener(['robot1'], silences([spec]))
    with Launcher([spec], tmp_path / 'log', os.environ) as launcher:
        launcher.nodes[0].process.wait(TIMEOUT)
        with pytest.raises(NodeDiedError, match=r'missing\.yaml'):
            Supervisor(launcher, listener.heartbeats, 0.0).tend(0.0)

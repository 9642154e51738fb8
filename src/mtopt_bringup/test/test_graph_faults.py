"""The whole graph over real DDS when something is wrong: what is asked for, or a node that dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.launcher import Launcher
from mtopt_core.bag import partial_bags
from mtopt_core.episode import Termination
from mtopt_core.episode_bag import episode_ids, read_episode
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_msgs.action import CollectEpisode
from mtopt_msgs.msg import Action, CollectorStatus
from mtopt_node.qos import LATCHED

START_TIMEOUT = 60.0
EPISODE_TIMEOUT = 120.0
Result = CollectEpisode.Result


class RunningCell:
    """A simulated cell whose collector waits for goals, and a client of it."""

    def __init__(self, data: Path, episodes: int = 0) -> None:
        self.data = DataFolder(data)
        self._domain = random.randint(1, 101)
        options = GraphOptions(
            simulator=Simulator.MUJOCO, data=data, episodes=episodes, grade_with='simulator', image_size=48
        )
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(self._domain)}
        self._launcher = Launcher(graph(options), data / 'log', environment)

    def __enter__(self) -> RunningCell:
        self._launcher.__enter__()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self._domain)
        self._node = rclpy.create_node('tester', context=self._context)
        self.actions: list[Action] = []
        self.statuses: list[CollectorStatus] = []
        self._node.create_subscription(Action, '/robot1/action', self.actions.append, 10)
        self._node.create_subscription(CollectorStatus, '/robot1/status', self.statuses.append, LATCHED)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self._client = ActionClient(self._node, CollectEpisode, '/robot1/collector/collect')
        if not self._client.wait_for_server(START_TIMEOUT):
            # Leaving without this would leave an endless collection behind.
            self.__exit__()
            pytest.fail('the collector did not start in time')
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()
        self._launcher.stop()

    def start(self, **goal: Any) -> Any:
        """Send a goal; returns its handle once the collector has accepted it."""
        handle = self.wait(self._client.send_goal_async(CollectEpisode.Goal(**{'seed': -1, **goal})))
        assert handle.accepted
        return handle

    def collect(self, **goal: Any) -> CollectEpisode.Result:
        return self.result(self.start(**goal))

    def result(self, handle: Any) -> CollectEpisode.Result:
        return self.wait(handle.get_result_async()).result

    def wait(self, future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(EPISODE_TIMEOUT), 'no answer in time'
        return future.result()

    def ask(self, service: str) -> None:
        client = self._node.create_client(Trigger, f'/robot1/collector/{service}')
        assert client.wait_for_service(START_TIMEOUT)
        assert self.wait(client.call_async(Trigger.Request())).success

    def process(self, name: str) -> subprocess.Popen[bytes]:
        return next(node.process for node in self._launcher.nodes if node.spec.name == name)

    def restart(self, name: str) -> None:
        """Start a node again that was killed, as whoever watches over it would."""
        node = next(node for node in self._launcher.nodes if node.spec.name == name)
        self._launcher.nodes = tuple(one for one in self._launcher.nodes if one is not node)
        self._launcher.nodes += (self._launcher._start(node.spec),)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + EPISODE_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope='module')
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCell]:
    with RunningCell(tmp_path_factory.mktemp('data')) as cell:
        yield cell


def test_an_unknown_task_is_refused_by_name(cell):
    result = cell.collect(task='lift-anvil', policy='scripted')
    assert result.error_code == Result.UNKNOWN
    assert 'lift-anvil' in result.error_msg


def test_a_learned_episode_without_a_checkpoint_is_aborted_with_the_way_out(cell):
    result = cell.collect(task='lift-any', policy='learned')
    assert result.error_code == Result.POLICY_FAILED
    assert 'checkpoint' in result.error_msg
    newest = read_episode(cell.data.bags / episode_ids(cell.data.bags)[-1])
    assert newest.info.termination is Termination.ABORTED
    assert 'checkpoint' in newest.info.message


def test_a_cancelled_goal_ends_the_episode_and_the_next_one_runs(cell):
    cell.actions.clear()
    handle = cell.start(task='lift-any', policy='scripted')
    wait_until(lambda: cell.actions)
    cell.wait(handle.cancel_goal_async())
    assert cell.result(handle).error_code in (Result.CANCELED, Result.NONE)
    assert cell.collect(policy='scripted').task in load_tasks().names


def test_a_second_goal_waits_for_the_first_and_a_third_is_told_that_it_is_busy(cell):
    handles = [cell.start(task='lift-any', policy='scripted', seed=seed) for seed in range(3)]
    codes = [cell.result(handle).error_code for handle in handles]
    assert codes[0] == Result.NONE
    assert set(codes[1:]) <= {Result.NONE, Result.BUSY}


def test_an_episode_whose_recorder_is_killed_fails_and_the_next_recorder_clears_up(cell):
    cell.actions.clear()
    handle = cell.start(task='lift-any', policy='scripted')
    wait_until(lambda: len(cell.actions) >= 2)
    (partial,) = partial_bags(cell.data.bags)
    cell.process('recorder').send_signal(signal.SIGKILL)
    assert cell.result(handle).error_code == Result.RECORDER_FAILED
    cell.restart('recorder')
    wait_until(lambda: not partial.exists())
    assert_recovers(cell)


def test_an_episode_whose_policy_node_ends_is_closed_as_aborted_and_the_next_one_runs(cell):
    cell.actions.clear()
    handle = cell.start(task='lift-any', policy='scripted')
    wait_until(lambda: cell.actions)
    episode_id = cell.actions[-1].episode_id
    cell.process('policy').terminate()
    assert cell.result(handle).error_code == Result.POLICY_FAILED
    assert read_episode(cell.data.bags / episode_id).info.termination is Termination.ABORTED
    cell.restart('policy')
    assert_recovers(cell)


def test_an_endless_collection_pauses_between_episodes_and_goes_on(tmp_path):
    with RunningCell(tmp_path, episodes=-1) as cell:
        wait_until(lambda: cell.statuses and cell.statuses[-1].episodes >= 2)
        cell.ask('pause')
        wait_until(lambda: cell.statuses[-1].state == CollectorStatus.STATE_PAUSED)
        collected = cell.statuses[-1].episodes
        time.sleep(1.0)
        assert cell.statuses[-1].episodes == collected == len(episode_ids(cell.data.bags))
        cell.ask('resume')
        wait_until(lambda: cell.statuses[-1].episodes > collected)
    # Stopped in the middle of whatever ran: every bag that is there can be read.
    assert not partial_bags(cell.data.bags)
    episodes = [read_episode(cell.data.bags / episode_id) for episode_id in episode_ids(cell.data.bags)]
    assert sum(episode.info.termination is Termination.ABORTED for episode in episodes) <= 1


def assert_recovers(cell: RunningCell) -> None:
    """See that an episode succeeds again; the first one may still find the dead node's traces in DDS."""
    results = [cell.collect(task='lift-any', policy='scripted') for _ in range(2)]
    assert results[-1].error_code == Result.NONE, results[-1].error_msg

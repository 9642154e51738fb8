"""The whole graph over real DDS with a simulated cell, and a client of its collector."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.launcher import Launcher
from mtopt_core.environment import free_domain
from mtopt_core.paths import DataFolder
from mtopt_msgs.action import CollectEpisode
from mtopt_msgs.msg import Action, CollectorStatus
from mtopt_node.calls import ThreadedActionClient, found
from mtopt_node.qos import LATCHED

START_TIMEOUT = 180.0
EPISODE_TIMEOUT = 120.0


class RunningCell:
    """A simulated cell whose collector waits for goals, and a client of it, in a ROS domain of its own."""

    def __init__(self, data: Path, episodes: int = 0, simulator: Simulator = Simulator.MUJOCO, **options: Any) -> None:
        self.data = DataFolder(data)
        self.domain = free_domain()
        specs = graph(
            GraphOptions(
                simulator=simulator, data=data, episodes=episodes, grade_with='simulator', image_size=48, **options
            )
        )
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(self.domain)}
        self._launcher = Launcher(specs, data / 'log', environment)

    def __enter__(self) -> RunningCell:
        self._launcher.__enter__()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self.domain)
        self._node = rclpy.create_node('tester', context=self._context)
        self.actions: list[Action] = []
        self.statuses: list[CollectorStatus] = []
        self._node.create_subscription(Action, '/robot1/action', self.actions.append, 10)
        self._node.create_subscription(CollectorStatus, '/robot1/status', self.statuses.append, LATCHED)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self._client = ThreadedActionClient(self._node, CollectEpisode, '/robot1/collector/collect')
        if not found(self._client.wait_for_server, START_TIMEOUT):
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
        assert done.wait(EPISODE_TIMEOUT), f'no answer in time; what the nodes said last:\n{self._said()}'
        return future.result()

    def _said(self) -> str:
        nodes = self._launcher.nodes
        return '\n'.join(f'{node.spec.name}: {line}' for node in nodes for line in _last_lines(node.log))

    def ask(self, service: str) -> None:
        client = self._node.create_client(Trigger, f'/robot1/collector/{service}')
        assert found(client.wait_for_service, START_TIMEOUT)
        assert self.wait(client.call_async(Trigger.Request())).success

    def process(self, name: str) -> subprocess.Popen[bytes]:
        return next(node.process for node in self._launcher.nodes if node.spec.name == name)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the simulator for the time of a context: an episode that runs then cannot come to its end.

        After a few seconds a simulator that is silent is missed.
        """
        simulator = self.process('simulator')
        simulator.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            simulator.send_signal(signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a node again that was killed, as whoever watches over it would."""
        node = next(node for node in self._launcher.nodes if node.spec.name == name)
        self._launcher.nodes = tuple(one for one in self._launcher.nodes if one is not node)
        self._launcher.nodes += (self._launcher._start(node.spec),)


def _last_lines(log: Path) -> list[str]:
    return log.read_text().splitlines()[-20:]


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + EPISODE_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

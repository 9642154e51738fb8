"""A graph for tests: real nodes in real processes, and a listener that speaks to them over real DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.subscription import Subscription
from rclpy.task import Future

from mtopt_core.environment import free_domain, prepare
from mtopt_node.calls import found

ROBOT = 'robot1'
TIMEOUT = 15.0


class Graph:
    """One ROS domain of its own, a node in this process, and the processes started in it."""

    def __init__(self, log_folder: Path) -> None:
        self.domain = free_domain()
        self.folder = self._logs = log_folder
        self._processes: dict[str, subprocess.Popen] = {}
        self._heard: list[Subscription] = []
        self._clients: dict[str, Client] = {}
        rclpy.init(domain_id=self.domain)
        self.node = rclpy.create_node('tester', namespace=ROBOT)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def start(self, name: str, module: str, **parameters: Any) -> subprocess.Popen:
        file = self._logs / f'{name}.yaml'
        file.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
        process = subprocess.Popen(
            [sys.executable, '-m', module, '--ros-args', '-r', f'__ns:=/{ROBOT}', '--params-file', str(file)],
            env={**os.environ, 'ROS_DOMAIN_ID': str(self.domain)},
            stdout=(self._logs / f'{name}.log').open('ab'),
            stderr=subprocess.STDOUT,
        )
        self._processes[name] = process
        return process

    def log(self, name: str) -> str:
        return (self._logs / f'{name}.log').read_text()

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(TIMEOUT)

    def wait_until(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        """Return the condition's value once it is true."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.01)
        raise AssertionError(f'nothing happened in time; {self._said()}')

    def listen(self, kind: type, topic: str, qos: Any) -> list:
        """Return a list that grows with the topic's messages."""
        messages: list = []
        self._heard.append(self.node.create_subscription(kind, topic, messages.append, qos))
        return messages

    def connect(self) -> None:
        """Wait until everything listened to is published."""
        self.wait_until(lambda: all(subscription.get_publisher_count() for subscription in self._heard))

    def publisher(self, kind: type, topic: str, qos: Any, readers: int = 1) -> Any:
        """Return a publisher once so many subscriptions are matched."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.wait_until(lambda: publisher.get_subscription_count() >= readers)
        return publisher

    def call(self, kind: type, service: str, request: Any, timeout: float = TIMEOUT) -> Any:
        # One for all calls: an answer is lost if the server has not yet found who asks.
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        assert found(client.wait_for_service, TIMEOUT), f'{service} is not there'
        return self.result(client.call_async(request), timeout)

    def result(self, future: Future, timeout: float = TIMEOUT) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout), f'no answer in time; {self._said()}'
        return future.result()

    def _said(self) -> str:
        return 'what the nodes said last:\n' + '\n'.join(
            f'{name}: {line}' for name in self._processes for line in self.log(name).splitlines()[-20:]
        )

    def close(self) -> None:
        for name in list(self._processes):
            self._processes[name].send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
        self._executor.shutdown()
        self._thread.join(TIMEOUT)
        self.node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    prepare()
    graph = Graph(tmp_path)
    try:
        yield graph
    finally:
        graph.close()

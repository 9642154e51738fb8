"""Two robots through the real graph: one policy server, the curriculum, a trainer that learns from what they do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.launcher import Launcher
from mtopt_core.environment import free_domain
from mtopt_core.episode import Termination
from mtopt_core.episode_bag import episode_ids, read_episode
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_msgs.msg import CollectorStatus, ModelVersion
from mtopt_node.calls import found
from mtopt_node.qos import LATCHED

ROBOTS = ('robot1', 'robot2')
TIMEOUT = 240.0
RULES = """
exploration: 0.5
sources: {before: {scripted: 0.5, learned: 0.5}, at_parity: {learned: 1.0}}
tasks: {lift-can: {before: {'learned:lift-any': 1.0}}}
"""


class Fleet:
    """A running fleet, and somebody who watches it."""

    def __init__(self, data: Path) -> None:
        self.data = DataFolder(data)
        rules = data / 'curriculum.yaml'
        rules.write_text(RULES)
        options = GraphOptions(
            simulator=Simulator.MUJOCO,
            data=data,
            robots=len(ROBOTS),
            shared=True,
            trainer=True,
            policy='curriculum',
            curriculum=str(rules),
            grade_with='simulator',
            image_size=48,
            seed=1,
        )
        domain = free_domain()
        # A trainer exports once a minute; nobody here is to wait for that.
        specs = [
            replace(spec, parameters={**spec.parameters, 'changes': ['export_seconds=5']})
            if spec.name == 'trainer'
            else spec
            for spec in graph(options)
        ]
        self.launcher = Launcher(specs, data / 'log', {**os.environ, 'ROS_DOMAIN_ID': str(domain)})
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node('watcher', context=self._context)
        self.statuses: dict[str, list[CollectorStatus]] = {robot: [] for robot in ROBOTS}
        self.versions: dict[str, list[ModelVersion]] = {robot: [] for robot in ROBOTS}
        for robot in ROBOTS:
            self.node.create_subscription(CollectorStatus, f'/{robot}/status', self.statuses[robot].append, LATCHED)
            self.node.create_subscription(
                ModelVersion, f'/{robot}/policy/model_version', self.versions[robot].append, LATCHED
            )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def wait_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + TIMEOUT
        while not condition():
            self.launcher.check()
            assert time.monotonic() < end, {robot: told[-1:] for robot, told in self.statuses.items()}
            time.sleep(0.02)

    def ask(self, robot: str, service: str) -> Trigger.Response:
        client = self.node.create_client(Trigger, f'/{robot}/collector/{service}')
        assert found(client.wait_for_service, TIMEOUT)
        future = client.call_async(Trigger.Request())
        self.wait_until(future.done)
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture(scope='module')
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp('fleet'))
    with fleet.launcher:
        yield fleet
    fleet.close()


def bags(fleet: Fleet, robot: str) -> list[str]:
    return [name for name in episode_ids(fleet.data.bags) if robot in name]


def episodes(fleet: Fleet, robot: str) -> list:
    return [read_episode(fleet.data.bags / name) for name in bags(fleet, robot)]


def test_each_robot_practises_tasks_of_its_own_through_the_one_policy_node(fleet):
    fleet.wait_until(lambda: all(told and told[-1].episodes >= 3 for told in fleet.statuses.values()))
    assert sum(node.spec.name == 'policy' for node in fleet.launcher.nodes) == 1
    practised = {robot: [episode.info.task for episode in episodes(fleet, robot)] for robot in ROBOTS}
    assert practised['robot1'][:3] != practised['robot2'][:3]
    aborted = [one.info.message for one in episodes(fleet, 'robot2')[:3] if one.info.termination is Termination.ABORTED]
    assert not aborted


def test_the_status_tells_how_far_every_task_has_come(fleet):
    fleet.wait_until(lambda: sum(one.attempts for one in fleet.statuses['robot1'][-1].practice) >= 6)
    practice = {one.task: one for one in fleet.statuses['robot1'][-1].practice}
    assert set(practice) == set(load_tasks().names)
    for skill in ('lift', 'place'):
        assert sum(practice[task].chance for task in load_tasks().of_skill(skill)) == pytest.approx(1, abs=1e-3)


def test_what_the_trainer_learns_reaches_both_robots_between_two_episodes(fleet):
    fleet.wait_until(lambda: all(fleet.versions.values()))
    fleet.wait_until(lambda: all(any('learned' in one.policy for one in told) for told in fleet.statuses.values()))
    collected = {robot: told[-1].episodes for robot, told in fleet.statuses.items()}
    fleet.wait_until(lambda: all(told[-1].episodes > collected[robot] + 1 for robot, told in fleet.statuses.items()))
    learned = [one for robot in ROBOTS for one in episodes(fleet, robot) if one.info.policy.startswith('learned')]
    assert learned
    assert all(one.info.model_version for one in learned if one.info.termination is not Termination.ABORTED)
    assert '"exploration": 0.5' in learned[0].info.configuration


def test_a_running_episode_can_be_skipped_and_collecting_goes_on(fleet):
    robot, told = 'robot2', fleet.statuses['robot2']
    for _ in range(5):
        fleet.wait_until(lambda: told[-1].state == CollectorStatus.STATE_RUNNING)
        known = len(bags(fleet, robot))
        skipped = fleet.ask(robot, 'skip').success
        fleet.wait_until(lambda known=known: len(bags(fleet, robot)) > known + 1)
        # The one that ran may have come to its end at the same moment.
        if skipped and any(one.info.termination is Termination.ABORTED for one in episodes(fleet, robot)[known:]):
            return
    pytest.fail('five times skipped, and no episode was cut short')

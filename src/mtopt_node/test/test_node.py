from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from std_srvs.srv import Trigger

from mtopt_core.environment import free_domain
from mtopt_core.errors import ConfigurationError, MtoptError
from mtopt_core.shared_memory import remove_stale_segments
from mtopt_msgs.action import ResetScene
from mtopt_node.calls import CallError, GoalServer, call, found
from mtopt_node.node import LEAVE_TIMEOUT, Node
from mtopt_node.parameters import Parameter
from mtopt_node.qos import EVENTS

PROGRAM = """
import sys
from std_srvs.srv import Trigger
from mtopt_node.node import Node, run

class Stubborn(Node):
    NAME = 'stubborn'
    def configure(self):
        self.create_service(Trigger, '~/fail', self.fail)
    def fail(self, request, response):
        raise RuntimeError('a broken callback')
    def cleanup(self):
        print('cleaned up', flush=True)

sys.exit(run(Stubborn))
"""
CLINGING = """
import sys
import time
from mtopt_node.node import Node, run

class Clinging(Node):
    NAME = 'clinging'
    def activate(self):
        print('active', flush=True)
    def cleanup(self):
        print('cleaned up', flush=True)
    def __del__(self):
        time.sleep(60)

sys.exit(run(Clinging))
"""


@pytest.fixture
def graph():
    rclpy.init(domain_id=free_domain())
    executor = MultiThreadedExecutor(4)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield executor
    executor.shutdown()
    rclpy.try_shutdown()
    thread.join(5)


class Picky(Node):
    NAME = 'picky'
    PARAMETERS = (
        Parameter('size', 3, 'px', minimum=1, maximum=9),
        Parameter('mode', 'slow', 'speed', choices=('slow', 'fast')),
    )
    refuses = False

    def configure(self) -> None:
        if self.refuses:
            raise MtoptError('no camera; plug it in')


class Maker(Node):
    """Creates one of each kind, as nodes do, and keeps no note of it."""

    NAME = 'maker'
    working: bool | None = None

    def configure(self) -> None:
        self.create_subscription(DiagnosticArray, 'heard', self.ignore, EVENTS)
        self.create_publisher(DiagnosticArray, 'told', EVENTS)
        self.create_service(Trigger, 'asked', self.ignore)
        self.create_client(Trigger, 'answered')
        GoalServer(self, ResetScene, 'done', self.ignore)

    def activate(self) -> None:
        self.create_timer(0.01, self.ignore)
        self.working = True

    def deactivate(self) -> None:
        self.working = False

    def ignore(self, *_) -> None:
        pass

    def held(self) -> list[int]:
        kinds = (self.subscriptions, self.publishers, self.services, self.clients, self.timers, self.waitables)
        return [len(list(kind)) for kind in kinds]


def diagnostics_of(executor: MultiThreadedExecutor) -> list[DiagnosticStatus]:
    listener = rclpy.create_node('listener')
    seen: list[DiagnosticStatus] = []
    listener.create_subscription(DiagnosticArray, '/diagnostics', lambda array: seen.extend(array.status), EVENTS)
    executor.add_node(listener)
    return seen


def wait_until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_configured_node_reports_ok(graph):
    seen = diagnostics_of(graph)
    node = Picky()
    graph.add_node(node)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert wait_until(lambda: any(s.name == '/picky' and s.level == DiagnosticStatus.OK for s in seen))


def test_a_refused_configuration_says_why_in_the_diagnostics(graph):
    seen = diagnostics_of(graph)
    node = Picky()
    node.refuses = True
    graph.add_node(node)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert wait_until(lambda: any('no camera; plug it in' in s.message and s.level == b'\x02' for s in seen))


def test_a_parameter_outside_its_range_is_refused(graph):
    node = Picky()
    result = node.set_parameters([rclpy.Parameter('size', value=12)])[0]
    assert not result.successful


def test_an_unknown_choice_is_named_with_the_known_ones():
    rclpy.init(args=['--ros-args', '-p', 'mode:=warp'])
    try:
        with pytest.raises(ConfigurationError, match=r"mode is 'warp'; use one of slow, fast"):
            Picky()
    finally:
        rclpy.try_shutdown()


def test_a_missing_service_is_named(graph):
    node = rclpy.create_node('caller')
    graph.add_node(node)
    client = node.create_client(Trigger, 'nobody/there')
    with pytest.raises(CallError, match='nobody/there'):
        call(client, Trigger.Request(), 0.3)


def test_a_service_that_never_answers_times_out(graph):
    node = rclpy.create_node('slow_server')
    release = threading.Event()

    def stall(request, response):
        release.wait(5)
        return response

    node.create_service(Trigger, 'stall', stall, callback_group=ReentrantCallbackGroup())
    client = node.create_client(Trigger, 'stall', callback_group=ReentrantCallbackGroup())
    graph.add_node(node)
    with pytest.raises(CallError, match=r'did not answer within 0\.5 s'):
        call(client, Trigger.Request(), 0.5)
    release.set()


def test_a_failing_callback_is_reported_and_the_node_lives_on(tmp_path):
    domain = str(free_domain())
    program = tmp_path / 'stubborn.py'
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program)], env={**os.environ, 'ROS_DOMAIN_ID': domain}, stdout=subprocess.PIPE, text=True
    )
    rclpy.init(domain_id=int(domain))
    try:
        executor = MultiThreadedExecutor(2)
        seen = diagnostics_of(executor)
        node = rclpy.create_node('caller')
        executor.add_node(node)
        threading.Thread(target=executor.spin, daemon=True).start()
        client = node.create_client(Trigger, 'stubborn/fail')
        assert found(client.wait_for_service, 10)
        for _ in range(2):
            with pytest.raises(CallError):
                call(client, Trigger.Request(), 1.0)
        assert wait_until(lambda: any('a broken callback' in s.message for s in seen))
        assert process.poll() is None
        executor.shutdown()
    finally:
        rclpy.try_shutdown()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=15)
    assert process.returncode == 0
    assert 'cleaned up' in output


def test_a_node_that_hangs_when_all_is_cleaned_up_prints_where_and_ends(tmp_path):
    program = tmp_path / 'clinging.py'
    program.write_text(CLINGING)
    domain = str(free_domain())
    process = subprocess.Popen(
        [sys.executable, str(program)],
        env={**os.environ, 'ROS_DOMAIN_ID': domain},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'active\n'
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=LEAVE_TIMEOUT + 10)
    assert process.returncode == 1
    assert 'cleaned up' in output
    assert '__del__' in errors
    remove_stale_segments(minimum_age=LEAVE_TIMEOUT)


def test_a_node_that_is_shut_down_stops_working_and_lets_go_of_what_it_created(graph):
    node = Maker()
    graph.add_node(node)
    empty = node.held()
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    assert node.working is False
    assert node.held() == empty
    node.destroy_node()


def test_a_node_that_was_never_configured_can_be_shut_down(graph):
    node = Maker()
    graph.add_node(node)
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    assert node.working is None
    node.destroy_node()


def test_timers_and_subscriptions_that_are_gone_are_not_remembered(graph):
    node = Maker()
    graph.add_node(node)
    remembered = len(node.default_callback_group.entities)
    for _ in range(20):
        node.destroy_timer(node.create_timer(1.0, node.ignore))
        node.destroy_subscription(node.create_subscription(DiagnosticArray, 'heard', node.ignore, EVENTS))
    assert len(node.default_callback_group.entities) <= remembered + 2
    node.destroy_node()


def test_what_a_node_creates_goes_with_its_cleanup_and_comes_again(graph):
    node = Maker()
    graph.add_node(node)
    empty, full = node.held(), []
    for _ in range(3):
        assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        full.append(node.held())
        assert node.trigger_deactivate() == node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert node.held() == empty
    assert all(more > before for before, more in zip(empty, full[0], strict=True))
    assert full[1:] == full[:1] * 2
    node.destroy_node()

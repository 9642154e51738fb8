"""What `mtopt run` tells and when it ends: beside another graph, without a terminal, when nobody can go on."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console
from std_srvs.srv import Trigger

from mtopt_bringup.display_node import Log
from mtopt_bringup.graph import MACHINE, GraphOptions, NodeSpec
from mtopt_bringup.launcher import NodeDiedError
from mtopt_bringup.resume_node import ResumeError, resume
from mtopt_bringup.run_node import Care, CollectionStoppedError, GraphRunningError, require_hope, run_graph
from mtopt_bringup.stop_node import stop
from mtopt_collector.help_call import HelpCall
from mtopt_core.environment import free_domain
from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import DataFolder
from mtopt_msgs.msg import CollectorStatus
from mtopt_node.qos import EVENTS

TIMEOUT = 30.0


@contextmanager
def living_node(name: str, pid: int, domain: int) -> Iterator[None]:
    """Give a node's signs of life until the context ends."""
    context, ended = rclpy.Context(), Event()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('other', context=context)
    publisher = node.create_publisher(DiagnosticArray, '/diagnostics', EVENTS)
    status = DiagnosticStatus(name=name, values=[KeyValue(key='pid', value=str(pid))])

    def live() -> None:
        while not ended.wait(0.1):
            publisher.publish(DiagnosticArray(status=[status]))

    thread = Thread(target=live)
    thread.start()
    yield
    ended.set()
    thread.join()
    node.destroy_node()
    context.try_shutdown()


def test_a_second_graph_of_the_same_robot_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = free_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    with (
        living_node('/robot1/arm_controller', 4711, domain),
        pytest.raises(GraphRunningError, match=rf'/robot1/arm_controller runs already \(process 4711\).* {domain}'),
    ):
        run_graph(GraphOptions(data=tmp_path / 'data'), ())
    assert not (tmp_path / 'data').exists()


def status(robot: str, state: int, episodes: int = 3, **fields: object) -> CollectorStatus:
    return CollectorStatus(robot=robot, state=state, episodes=episodes, **fields)


def test_collecting_ends_once_no_robot_that_is_not_done_can_go_on_alone() -> None:
    wanted, logs = {'robot1': 5, 'robot2': 5}, Path('log')
    stuck = status('robot1', CollectorStatus.STATE_NEEDS_PERSON, message='the arm is blocked')
    require_hope(wanted, {'robot1': stuck}, logs)
    require_hope(wanted, {'robot1': stuck, 'robot2': status('robot2', CollectorStatus.STATE_RUNNING)}, logs)
    require_hope(wanted, {'robot2': status('robot2', CollectorStatus.STATE_IDLE, 5)}, logs)
    with pytest.raises(CollectionStoppedError, match='robot1 needs a person: the arm is blocked; logs are in log'):
        require_hope(wanted, {'robot1': stuck, 'robot2': status('robot2', CollectorStatus.STATE_IDLE, 5)}, logs)


def test_a_log_has_a_line_for_every_change_that_lasts_and_no_more() -> None:
    output = io.StringIO()
    log = Log(Console(file=output, width=40))
    for round_number in range(3):
        for state in (CollectorStatus.STATE_RESETTING, CollectorStatus.STATE_RUNNING, CollectorStatus.STATE_GRADING):
            log.show([status('robot1', state, round_number, task='lift-can')])
        log.show([status('robot1', CollectorStatus.STATE_IDLE, round_number)])
    for free in (190, 180):
        message = f'only {free} MB are free for bags in a folder with quite a long name [bags]'
        log.show([status('robot1', CollectorStatus.STATE_WAITING, message=message)])
    log.show([status('robot1', CollectorStatus.STATE_RUNNING, task='lift-can')])
    told = [line[20:] for line in output.getvalue().splitlines()]
    assert told == [
        'starting the nodes',
        'robot1: 0 episodes, 0 successes; collects',
        f'robot1: 3 episodes, 0 successes; waits: {message.replace("180", "190")}',
        'robot1: 3 episodes, 0 successes; collects',
    ]


class GivesUp:
    """A supervisor that gives nodes up as it is told."""

    def __init__(self) -> None:
        self.respawned: dict[str, int] = {}
        self.given_up: dict[str, str] = {}
        self.next: list[str] = []
        self.last = False

    def tend(self, now: float) -> list[str]:
        told = [f'{name} died, given up' for name in self.next]
        self.given_up |= dict(zip(self.next, told, strict=True))
        self.respawned |= dict.fromkeys(self.next, 6)
        if self.last:
            raise NodeDiedError('\n'.join(self.given_up.values()))
        return told


def test_a_person_is_called_for_nodes_that_no_collector_misses_and_restarts_are_told(tmp_path: Path) -> None:
    calls, output = tmp_path / 'calls', io.StringIO()
    command = f'sh -c \'echo "$MTOPT_ROBOT: $MTOPT_MESSAGE" >> {calls}\''

    def called() -> list[str]:
        return calls.read_text().splitlines() if calls.exists() else []

    def wait_for(number: int) -> None:
        deadline = time.monotonic() + TIMEOUT
        while len(called()) < number:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    specs = [NodeSpec('', '', name, f'/{place}') for place, name in ((MACHINE, 'trainer'), ('robot1', 'recorder'))]
    supervisor = GivesUp()
    care = Care(specs, HelpCall(MACHINE, command, DataFolder(tmp_path)), Log(Console(file=output)))

    def lose(*names: str, last: bool = False) -> None:
        supervisor.next, supervisor.last = list(names), last
        tend()

    with care.of(supervisor) as tend:  # type: ignore[arg-type]
        lose('/robot1/recorder')
        lose('/machine/trainer')
        wait_for(1)
    with pytest.raises(NodeDiedError), care.of(supervisor) as tend:  # type: ignore[arg-type]
        lose('/robot2/recorder', last=True)
    wait_for(2)
    assert called()[0] == 'machine: /machine/trainer died, given up'
    assert '/robot2/recorder died, given up' in calls.read_text()
    for told in ('/robot1/recorder died, given up', '/machine/trainer was started again 6 times, and given up'):
        assert told in output.getvalue()


def test_a_name_that_no_robot_can_have_is_refused_before_anything_is_stopped_or_told() -> None:
    for command in (stop, resume):
        with pytest.raises(ConfigurationError, match="'robot-1' is no robot's name"):
            command('robot-1')


def test_a_robot_that_called_for_a_person_is_told_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context, domain = rclpy.Context(), free_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('collector', namespace='robot1', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    answers = iter((True, False))

    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = next(answers)
        response.message = 'going on' if response.success else 'it is not the time'
        return response

    node.create_service(Trigger, '~/resume', answer)
    thread = Thread(target=executor.spin, daemon=True)
    thread.start()
    resume('/robot1')
    assert capsys.readouterr().out == 'robot1: going on\n'
    with pytest.raises(ResumeError, match='robot1 was not told to go on: it is not the time'):
        resume('robot1')
    executor.shutdown()
    thread.join()
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize(('deaf', 'told'), [(False, 'ended in order'), (True, 'went on')])
def test_the_end_of_its_terminal_ends_a_command_in_order_unless_it_was_made_deaf_to_it(deaf: bool, told: str) -> None:
    program = f"""
import signal, sys, time
sys.path[:0] = {sys.path!r}
from mtopt_bringup.interruption import Interruption
# Whoever runs the tests may be deaf to it, and so would be what they start.
signal.signal(signal.SIGHUP, signal.SIG_IGN if {deaf} else signal.SIG_DFL)
with Interruption() as interruption:
    print('ready', flush=True)
    sys.stdin.readline()
    time.sleep(0.01)
    print('ended in order' if interruption.requested else 'went on', flush=True)
"""
    with subprocess.Popen(
        [sys.executable, '-c', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout.readline() == 'ready\n'
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        output, _ = process.communicate('\n', timeout=TIMEOUT)
    assert output == f'{told}\n'

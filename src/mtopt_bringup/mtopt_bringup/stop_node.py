"""`mtopt stop`: the latched emergency stop of the arms, from a command line."""

from __future__ import annotations

import time
from typing import Annotated

import rclpy
import typer
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_msgs.msg import Bool

from mtopt_bringup.cells import robot_name
from mtopt_bringup.plain_node import ANSWER, DISCOVERY, NAP, AnswerError, ask, plain_node
from mtopt_core.errors import MtoptError
from mtopt_core.heartbeats import BLOCKED
from mtopt_node.qos import COMMANDS, EVENTS

SETTLE = 1.0
"""s in which no more of them is, once the first has been."""
AGAIN = 0.1
"""s after which the message is sent again: one that is sent before its way is laid is lost."""
_CONTROLLER = 'arm_controller'


class StopError(MtoptError):
    """Not every arm could be stopped, or released."""


def stop(
    robot: Annotated[str, typer.Argument(help='Name of the robot; without one all robots are stopped.')] = '',
    release: Annotated[
        bool, typer.Option('--release', help='Let the robot move again; make the cell safe first.')
    ] = False,
) -> None:
    """Engage the emergency stop: a moving arm is held where it is, and nothing is sent to it until it is released.

    This is software and does not replace the hardware's emergency stop. The stop outlives restarts and power failures.

    Example: `mtopt stop`, and once the cell is safe `mtopt stop robot1 --release`
    """
    if release and not robot:
        raise StopError('say which robot may move again: `mtopt stop robot1 --release`')
    robot = robot_name(robot) if robot else ''
    with plain_node('stop') as node:
        if release:
            print(_released(node, robot))
        else:
            for name in _engaged(node, robot):
                print(f'{name} is stopped; `mtopt stop {name} --release` lets it move again')


def _engaged(node: Node, robot: str) -> list[str]:
    """Engage the stop and return the robots whose arm controllers say that they are stopped.

    Raises:
        StopError: None listens, or one does not say so.
    """
    topic = f'/{robot}/emergency_stop' if robot else '/emergency_stop'
    publisher = node.create_publisher(Bool, topic, COMMANDS)
    stopped: set[str] = set()

    def hear(array: DiagnosticArray) -> None:
        for status in array.status:
            namespace, _, name = status.name.rpartition('/')
            blocked = next((one.value for one in status.values if one.key == BLOCKED), '')
            if name == _CONTROLLER and 'emergency stop' in blocked:
                stopped.add(namespace.strip('/'))

    node.create_subscription(DiagnosticArray, '/diagnostics', hear, EVENTS)
    found: set[str] = set()
    start = since = sent = time.monotonic()
    while (now := time.monotonic()) < start + DISCOVERY + (ANSWER if found else 0.0):
        if now - sent > AGAIN:
            publisher.publish(Bool(data=True))
            sent = now
        rclpy.spin_once(node, timeout_sec=NAP)
        there = {
            info.node_namespace.strip('/')
            for info in node.get_subscriptions_info_by_topic(topic)
            if info.node_name == _CONTROLLER
        }
        if there - found:
            found, since = found | there, now
        if found and found <= stopped and (robot or now - since > SETTLE):
            return sorted(found)
    if not found:
        raise StopError(f'no arm controller listens to {topic}: nothing was stopped. PRESS THE HARDWARE STOP')
    raise StopError(f'{", ".join(sorted(found - stopped))} did not say that it is stopped. PRESS THE HARDWARE STOP')


def _released(node: Node, robot: str) -> str:
    """Release the stop and return what the arm controller says.

    Raises:
        StopError: It is not there, or refuses.
    """
    try:
        return f'{robot}: {ask(node, f"/{robot}/{_CONTROLLER}/reset_emergency_stop")}'
    except AnswerError as error:
        raise StopError(f'{robot} stays stopped: {error}') from None

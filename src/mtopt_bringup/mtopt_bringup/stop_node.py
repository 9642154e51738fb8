"""`mtopt stop`: the latched emergency stop of the arms, from a command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import rclpy
import typer
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from mtopt_bringup.plain_node import plain_node
from mtopt_core.errors import MtoptError
from mtopt_node.qos import COMMANDS

DISCOVERY = 5.0
"""s in which an arm controller must be found."""
SETTLE = 1.0
"""s in which no more of them is, once the first has been."""
ANSWER = 5.0
"""s in which a message must have arrived, or a call be answered."""
NAP = 0.02


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
    with plain_node('stop') as node:
        if release:
            print(_released(node, robot.strip('/')))
        else:
            for name in _engaged(node, robot.strip('/')):
                print(f'{name} is stopped; `mtopt stop {name} --release` lets it move again')


def _engaged(node: Node, robot: str) -> list[str]:
    """Engage the stop and return the robots whose arm controllers have got the message.

    Raises:
        StopError: None listens, or one did not acknowledge it.
    """
    topic = f'/{robot}/emergency_stop' if robot else '/emergency_stop'
    publisher = node.create_publisher(Bool, topic, COMMANDS)
    publisher.publish(Bool(data=True))
    count, since, deadline = 0, time.monotonic(), time.monotonic() + DISCOVERY
    # What is found late gets a message of its own; one more does no harm.
    while time.monotonic() < deadline and not (count and (robot or time.monotonic() - since > SETTLE)):
        if (now := publisher.get_subscription_count()) != count:
            count, since = now, time.monotonic()
            publisher.publish(Bool(data=True))
        time.sleep(NAP)
    if not count:
        raise StopError(f'no arm controller listens to {topic}: nothing was stopped. PRESS THE HARDWARE STOP')
    if not publisher.wait_for_all_acked(Duration(seconds=ANSWER)):
        raise StopError(f'an arm controller that listens to {topic} does not answer. PRESS THE HARDWARE STOP')
    return sorted(info.node_namespace.strip('/') for info in node.get_subscriptions_info_by_topic(topic))


def _released(node: Node, robot: str) -> str:
    """Release the stop and return what the arm controller says.

    Raises:
        StopError: It is not there, or refuses.
    """
    client = node.create_client(Trigger, f'/{robot}/arm_controller/reset_emergency_stop')
    if not _within(DISCOVERY, client.service_is_ready):
        raise StopError(
            f'there is no arm controller of {robot}: {client.srv_name} was not found within {DISCOVERY:g} s'
        )
    future = client.call_async(Trigger.Request())
    rclpy.spin_until_future_complete(node, future, timeout_sec=ANSWER)
    answer = future.result() if future.done() else None
    if answer is None or not answer.success:
        raise StopError(f'{robot} stays stopped: {answer.message if answer else "its arm controller does not answer"}')
    return f'{robot}: {answer.message}'


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(NAP)
    return True

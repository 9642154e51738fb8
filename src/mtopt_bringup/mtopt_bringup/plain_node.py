"""A node for a command that lasts a moment, and what it may ask: no lifecycle, no signal handlers of ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from mtopt_core.errors import MtoptError
from mtopt_core.shared_memory import dead_ports_held
from mtopt_node.calls import found

DISCOVERY = 5.0
"""s in which a node must be found."""
ANSWER = 5.0
"""s in which it must answer."""
NAP = 0.02


class AnswerError(MtoptError):
    """A node is not there, does not answer, or refuses."""


@contextmanager
def plain_node(name: str) -> Iterator[Node]:
    """Yield a node of this name in a ROS context that ends with it."""
    with dead_ports_held():
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node(name)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def ask(node: Node, service: str) -> str:
    """Ask another node something by its service and return what it says.

    Raises:
        AnswerError: It is not there, does not answer, or refuses; the message says which.
    """
    client = node.create_client(Trigger, service)
    if not found(client.wait_for_service, DISCOVERY):
        raise AnswerError(
            f'{service} was not found within {DISCOVERY:g} s in ROS domain {node.context.get_domain_id()}'
        )
    future = client.call_async(Trigger.Request())
    rclpy.spin_until_future_complete(node, future, timeout_sec=ANSWER)
    answer = future.result() if future.done() else None
    if answer is None or not answer.success:
        raise AnswerError(answer.message if answer else f'{service} does not answer')
    return str(answer.message)

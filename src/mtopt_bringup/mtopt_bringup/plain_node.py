"""A node for a command that lasts a moment: no lifecycle, no signal handlers of ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mtopt_core.shared_memory import dead_ports_held


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

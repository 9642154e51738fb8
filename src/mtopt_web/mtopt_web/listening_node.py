"""Makes the page part of the graph: it sees the cameras, follows the robots, and may tell them something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from mtopt_core.shared_memory import dead_ports_held
from mtopt_web.live_cameras_node import LiveCamerasNode
from mtopt_web.robot_watch_node import RobotWatchNode
from mtopt_web.site import Site


@contextmanager
def listening(site: Site) -> Iterator[None]:
    """Be part of the graph while the context lasts; Ctrl-C stays with whoever uses it."""
    with dead_ports_held():
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        nodes = LiveCamerasNode(site.cameras), RobotWatchNode(site.robots)
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin, name='graph', daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()

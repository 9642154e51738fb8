"""Is a node well? Listens to the diagnostics, which every node publishes each second: `healthy.py /robot1/simulator`.

Exits with 0 when the node says that it is, with 1 when it reports an error or is silent.
"""

from __future__ import annotations

import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

PATIENCE = 15.0
"""s; finding the node takes most of it."""


def main() -> None:
    """Wait for the node's next diagnostics."""
    (wanted,) = sys.argv[1:]
    levels: list[bytes] = []

    def hear(array: DiagnosticArray) -> None:
        levels.extend(status.level for status in array.status if status.name == wanted)

    rclpy.init()
    node = rclpy.create_node('health_check')
    node.create_subscription(DiagnosticArray, '/diagnostics', hear, 10)
    deadline = time.monotonic() + PATIENCE
    while not levels and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.1)
    rclpy.try_shutdown()
    if not levels:
        sys.exit(f'{wanted} has not been heard of for {PATIENCE:g} s')
    sys.exit(f'{wanted} reports an error' if levels[-1] == DiagnosticStatus.ERROR else 0)


if __name__ == '__main__':
    main()

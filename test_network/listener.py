"""Counts what reaches this machine from a robot, once a second as a line of JSON: `python listener.py ROBOT FILE`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

from mtopt_core.environment import prepare

prepare()

import rclpy  # noqa: E402 (the environment comes first)
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from mtopt_msgs.msg import CollectorStatus  # noqa: E402
from mtopt_node.qos import LATCHED, OBSERVATIONS  # noqa: E402

robot, file = sys.argv[1], Path(sys.argv[2])
rclpy.init()
node = Node('listener')
heard = Counter()
node.create_subscription(CollectorStatus, f'/{robot}/status', lambda _: heard.update(['statuses']), LATCHED)
node.create_subscription(
    CompressedImage, f'/{robot}/cameras/main/compressed', lambda _: heard.update(['images']), OBSERVATIONS
)
written = 0.0
while rclpy.ok():
    rclpy.spin_once(node, timeout_sec=0.2)
    if time.monotonic() - written > 1:
        written = time.monotonic()
        temporary = file.with_suffix('.new')
        temporary.write_text(json.dumps(heard))
        temporary.rename(file)

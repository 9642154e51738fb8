"""Cameras that can be spoilt: passes a robot's images on from `camera/<name>/image` to `spoilt/<name>/image`.

Commands come on the standard input, a line each: `freeze NAME`, `black NAME`, `heal`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from functools import partial

import rclpy
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image

from mtopt_core.configuration import CAMERAS
from mtopt_node.qos import IMAGES


def main(robot: str) -> None:
    """Pass images on until the input ends."""
    rclpy.init()
    node = rclpy.create_node('camera_relay', namespace=robot)
    publishers = {name: node.create_publisher(Image, f'spoilt/{name}/image', IMAGES) for name in CAMERAS}
    spoilt: dict[str, str] = {}
    shown: dict[str, bytes] = {}

    def relay(name: str, image: Image) -> None:
        how = spoilt.get(name, '')
        if how == 'black':
            image.data = bytes(len(image.data))
        elif how == 'freeze' and name in shown:
            image.data = shown[name]
        else:
            shown[name] = bytes(image.data)
        publishers[name].publish(image)

    def listen() -> None:
        for line in sys.stdin:
            words = line.split()
            if words == ['heal']:
                spoilt.clear()
            else:
                spoilt[words[1]] = words[0]
        rclpy.try_shutdown()

    for name in CAMERAS:
        node.create_subscription(Image, f'camera/{name}/image', partial(relay, name), IMAGES)
    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)


if __name__ == '__main__':
    main(sys.argv[1])

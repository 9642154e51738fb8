"""Brings the cameras of whatever runs to the page: the graph, a simulator by itself, a bag that is replayed.

A robot is whoever publishes `cameras/<name>/compressed`, as camera ingestion and recorded bags do, or
`camera/<name>/image`, as drivers and simulators do. It is listened to only while somebody watches.
"""

from __future__ import annotations

import re

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from mtopt_core.configuration import load_cell
from mtopt_core.environment import peers
from mtopt_core.errors import ImageError
from mtopt_core.images import crop_resize, encode_jpeg, to_rgb
from mtopt_core.messages import stamp_of
from mtopt_node.qos import IMAGES, OBSERVATIONS
from mtopt_web.live_cameras import LiveCameras

LOOK_PERIOD = 0.5  # s
_TOPIC = re.compile(r'/(?P<robot>\w+)/(?:cameras/(?P<recorded>\w+)/compressed|camera/(?P<raw>\w+)/image)')

Place = tuple[str, str]
"""A robot and a camera."""


class LiveCamerasNode(Node):
    """Subscribes to the cameras that are watched."""

    def __init__(self, cameras: LiveCameras) -> None:
        super().__init__('web')
        self._cameras = cameras
        self._recording = load_cell().recording
        self._heard: dict[Place, tuple[str, Subscription]] = {}
        self.create_timer(LOOK_PERIOD, self._look)

    def _look(self) -> None:
        """Follow what there is and what is watched."""
        offered: dict[Place, str] = {}
        for topic, _ in self.get_topic_names_and_types():
            match = _TOPIC.fullmatch(topic)
            # Raw images are a hundred times as large: they do not leave the robot's machine.
            if match and match['raw'] and peers():
                continue
            if match and self.count_publishers(topic):
                place = match['robot'], match['recorded'] or match['raw']
                # What is recorded counts more: it is what the detector will see.
                if match['recorded'] or place not in offered:
                    offered[place] = topic
        self._cameras.found(tuple(sorted({robot for robot, _ in offered})))
        watched = self._cameras.watched()
        wanted = {place: topic for place, topic in offered.items() if place[0] in watched}
        for place, (topic, subscription) in list(self._heard.items()):
            if wanted.get(place) != topic:
                self.destroy_subscription(subscription)
                del self._heard[place]
        for place, topic in wanted.items():
            if place not in self._heard:
                self._heard[place] = topic, self._subscribe(place, topic)

    def _subscribe(self, place: Place, topic: str) -> Subscription:
        robot, camera = place

        def take_recorded(message: CompressedImage) -> None:
            self._cameras.put(robot, camera, bytes(message.data), stamp_of(message.header.stamp))

        def take_raw(message: Image) -> None:
            try:
                rgb = to_rgb(message.encoding, message.height, message.width, message.step, message.data)
            except ImageError as error:
                self.get_logger().warning(f'camera {camera} of {robot}: {error}', throttle_duration_sec=10.0)
                return
            if self._recording.image_size:
                rgb = crop_resize(rgb, self._recording.image_size)
            jpeg = encode_jpeg(rgb, self._recording.jpeg_quality)
            self._cameras.put(robot, camera, jpeg, stamp_of(message.header.stamp))

        if topic.endswith('/compressed'):
            return self.create_subscription(CompressedImage, topic, take_recorded, OBSERVATIONS)
        return self.create_subscription(Image, topic, take_raw, IMAGES)

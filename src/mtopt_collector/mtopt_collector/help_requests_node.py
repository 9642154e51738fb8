"""Tells of a robot that needs a person: the topic `help` and the user's command, with what the cameras saw last."""

from __future__ import annotations

import threading
import time

from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage

from mtopt_collector.cell_node import CellNode
from mtopt_collector.help_call import HelpCall, HelpCallError
from mtopt_core.episode_bag import camera_topic
from mtopt_msgs.msg import HelpRequest
from mtopt_node.conversions import header
from mtopt_node.qos import LATCHED, OBSERVATIONS

LISTENING, LOOK_PERIOD = 1.0, 0.1  # s


class HelpRequests:
    """The open request of a node's robot, if there is one.

    One thread tells; only `answer` may be called from any.

    Args:
        node: Whose.
        call: The user's command.
        stopped: Set when the node stops; nothing is waited for any more.
    """

    def __init__(self, node: CellNode, call: HelpCall, stopped: threading.Event) -> None:
        self._node, self._call, self._stopped = node, call, stopped
        self._answered = threading.Event()
        self._requests = node.create_publisher(HelpRequest, 'help', LATCHED)

    def answer(self) -> None:
        """Note that a person has come: the same matter is worth a call of its own from now on."""
        self._answered.set()

    def take_answer(self) -> bool:
        """Return whether a person has come since this was asked last."""
        if not self._answered.is_set():
            return False
        self._answered.clear()
        return True

    def tell(self, message: str) -> None:
        """Call for a person; an empty message: nobody is needed any more. Not from the executor's own thread."""
        if message == self._call.message and not (message and self._answered.is_set()):
            return
        images = self._newest_images() if message else {}
        try:
            self._call.call(message, images)
        except HelpCallError as error:
            self._node.get_logger().error(str(error))
        self._requests.publish(
            HelpRequest(
                header=header(time.time_ns(), ''),
                robot=self._node.robot,
                needed=bool(message),
                message=message,
                images=[
                    CompressedImage(header=header(time.time_ns(), name), format='jpeg', data=jpeg)
                    for name, jpeg in images.items()
                ],
            )
        )

    def _newest_images(self) -> dict[str, bytes]:
        """Return what each camera saw last, by name; latched, so that listening for a moment is enough."""
        images: dict[str, bytes] = {}

        def listen(camera: str) -> Subscription:
            def take(message: CompressedImage) -> None:
                images[camera] = bytes(message.data)

            return self._node.create_subscription(CompressedImage, camera_topic(camera), take, OBSERVATIONS)

        subscriptions = [listen(camera) for camera in self._node.cell.cameras]
        deadline = self._node.now + LISTENING
        while len(images) < len(subscriptions) and self._node.now < deadline and not self._stopped.wait(LOOK_PERIOD):
            pass
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)
        return images

"""A publisher of ign-transport 8: ZeroMQ, and announcements by multicast. Gazebo 11 takes joint commands only this way.

A publisher announces its topic and address several times a second; subscribers of the same partition connect to it and
say so on its control socket.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import uuid
from typing import Any

import zmq

from mtopt_sim.gazebo.inside import LOOPBACK, PARTITION
from mtopt_sim.gazebo.messages import Messages
from mtopt_sim.gazebo.server import Server

GROUP = ('224.0.0.7', 10317)
WIRE_VERSION = 10
PERIOD = 0.3
"""s between announcements; a publisher that is silent for 3 s is forgotten."""


class IgnPublisher:
    """Publishes one topic.

    Args:
        server: The server whose network it is published in.
        messages: ign-transport's message types.
        topic: Its name, with the leading slash.
        kind: Type of its messages.
    """

    def __init__(self, server: Server, messages: Messages, topic: str, kind: str) -> None:
        self._messages = messages
        self._topic = f'@/{PARTITION}@{topic}'
        self._kind = f'ignition.msgs.{kind}'
        self._context = zmq.Context()
        self._data, self._address = self._bind(zmq.PUB, server.listen())
        self._control, control_address = self._bind(zmq.ROUTER, server.listen())
        self._connected = False
        process = str(uuid.uuid4())
        announcement = messages.new('Discovery', version=WIRE_VERSION, process_uuid=process, type=1)
        publisher = announcement.pub
        publisher.topic, publisher.address = self._topic, self._address
        publisher.process_uuid, publisher.node_uuid = process, str(uuid.uuid4())
        publisher.scope = 2
        publisher.msg_pub.ctrl, publisher.msg_pub.msg_type = control_address, self._kind
        content = announcement.SerializeToString()
        self._announcement = struct.pack('<H', len(content)) + content
        self._multicaster = server.multicaster()
        self._closed = threading.Event()
        self._announcer = threading.Thread(target=self._announce, daemon=True)
        self._announcer.start()

    def close(self) -> None:
        """Stop announcing and publishing."""
        self._closed.set()
        self._announcer.join()
        self._multicaster.close()
        self._data.close(0)
        self._control.close(0)
        self._context.term()

    @property
    def subscribed(self) -> bool:
        """Whether somebody has connected and said so."""
        if not self._connected and self._control.poll(0):
            self._control.recv_multipart()
            self._connected = True
        return self._connected

    def publish(self, message: Any) -> None:
        """Send a message to whoever has connected."""
        frames = [self._topic, self._address, message.SerializeToString(), self._kind]
        self._data.send_multipart([frame.encode() if isinstance(frame, str) else frame for frame in frames])

    def _bind(self, kind: int, listener: socket.socket) -> tuple[zmq.Socket[bytes], str]:
        """Return a socket that takes connections on a listening one, which it then owns, and its address."""
        port = listener.getsockname()[1]
        made = self._context.socket(kind)
        made.setsockopt(zmq.USE_FD, listener.detach())
        address = f'tcp://{LOOPBACK}:{port}'
        made.bind(address)
        return made, address

    def _announce(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                self._multicaster.sendto(self._announcement, GROUP)
            self._closed.wait(PERIOD)

"""ign-transport 8: ZeroMQ, and announcements by multicast. Gazebo 11 takes joint commands only this way.

A publisher announces its topic and address several times a second; subscribers of the same partition connect to it and
say so on its control socket. What is published is not acknowledged. Who offers a service announces it in another
multicast group; a question names the address and the identity that the answer is for.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import zmq

from mtopt_sim.gazebo import zmtp
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.inside import LOOPBACK, PARTITION
from mtopt_sim.gazebo.messages import Messages
from mtopt_sim.gazebo.server import Server

GROUP = '224.0.0.7'
TOPIC_PORT, SERVICE_PORT = 10317, 10318
WIRE_VERSION, ADVERTISE = 10, 1
ANSWER_TIME = 30.0
"""s of wall time for the other side of a connection, on a machine that is busy with other things."""
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
        self._topic = _full(topic)
        self._kind = _type(kind)
        self._context = zmq.Context()
        self._data, self._address = _bind(self._context.socket(zmq.PUB), server.listen())
        self._control, control_address = _bind(self._context.socket(zmq.ROUTER), server.listen())
        self._connected = False
        process = str(uuid.uuid4())
        announcement = messages.new('Discovery', version=WIRE_VERSION, process_uuid=process, type=ADVERTISE)
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
        self._data.send_multipart(_frames(self._topic, self._address, message.SerializeToString(), self._kind))

    def _announce(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                self._multicaster.sendto(self._announcement, (GROUP, TOPIC_PORT))
            self._closed.wait(PERIOD)


class IgnService:
    """Asks one service, many questions at a time.

    Args:
        server: The server that offers it.
        messages: ign-transport's message types.
        name: Of the service, with the leading slash.
        question: Type of its requests.
        answer: Type of its responses.
    """

    def __init__(self, server: Server, messages: Messages, name: str, question: str, answer: str) -> None:
        self._server, self._messages = server, messages
        self._name, self._question, self._answer = _full(name), question, answer
        self._announced = server.group_member(GROUP, SERVICE_PORT)
        self._context = zmq.Context()
        self._questions: socket.socket | None = None
        self._identity = str(uuid.uuid4())
        answers = self._context.socket(zmq.DEALER)
        answers.setsockopt(zmq.IDENTITY, self._identity.encode())
        self._answers, self._address = _bind(answers, server.listen())
        self._serial = 0

    def close(self) -> None:
        """Ask no more."""
        self._announced.close()
        if self._questions is not None:
            self._questions.close()
        self._answers.close(0)
        self._context.term()

    def found(self, seconds: float) -> bool:
        """Wait so long for the service to be announced, and connect to who offers it; return whether it was.

        Raises:
            TransportError: Who offers it does not speak as ign-transport 8 does.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._announced.settimeout(left)
            try:
                data = self._announced.recv(1 << 16)
            except TimeoutError:
                return False
            heard = self._messages.parse('Discovery', data[2:])
            if heard.version == WIRE_VERSION and heard.type == ADVERTISE and heard.pub.topic == self._name:
                self._questions = self._server.connect(int(heard.pub.address.rpartition(':')[2]))
                self._questions.settimeout(ANSWER_TIME)
                try:
                    zmtp.introduce(self._questions, 'DEALER')
                except OSError as error:
                    raise TransportError(f'the service {self._name} cannot be asked: {error}') from None
                return True
        return False

    def ask(self, questions: Sequence[Any], seconds: float) -> list[Any | None]:
        """Return the answers; none where there is none within so long.

        Raises:
            TransportError: The server is gone, or the service has not been found.
        """
        first = self._serial
        self._serial += len(questions)
        kinds = _type(self._question), _type(self._answer)
        for number, question in enumerate(questions, first):
            content = question.SerializeToString()
            frames = _frames(self._name, self._address, self._identity, '', str(number), content, *kinds)
            self._send(zmtp.message(frames))
        answers: list[Any | None] = [None] * len(questions)
        deadline = time.monotonic() + seconds
        while None in answers and self._answers.poll(max(0, round((deadline - time.monotonic()) * 1000))):
            _, _, asked, content, result = self._answers.recv_multipart()
            place = int(asked) - first
            # Whoever gave up waiting still gets the answer, later.
            if place >= 0 and result == b'1':
                answers[place] = self._messages.parse(self._answer, content)
        return answers

    def _send(self, data: bytes) -> None:
        try:
            if self._questions is None:
                raise OSError('the service has not been found')
            self._questions.sendall(data)
        except OSError as error:
            self._server.check()
            raise TransportError(f"Gazebo's server takes no questions: {error}") from None


def _full(name: str) -> str:
    return f'@/{PARTITION}@{name}'


def _type(name: str) -> str:
    return f'ignition.msgs.{name}'


def _bind(made: zmq.Socket[bytes], listener: socket.socket) -> tuple[zmq.Socket[bytes], str]:
    """Let a socket take connections on a listening one, which it then owns; return it and its address."""
    port = listener.getsockname()[1]
    made.setsockopt(zmq.USE_FD, listener.detach())
    address = f'tcp://{LOOPBACK}:{port}'
    made.bind(address)
    return made, address


def _frames(*frames: str | bytes) -> list[bytes]:
    return [frame.encode() if isinstance(frame, str) else frame for frame in frames]

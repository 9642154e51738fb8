"""Gazebo's own transport: a master that knows who publishes what, and TCP from publisher to subscriber.

Written for one thread that alternates between telling the server something and waiting for what comes of it: whatever
arrives is handled while `pump` waits, and nothing happens behind its back.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.framing import Frames, framed
from mtopt_sim.gazebo.inside import LOOPBACK, MASTER_PORT
from mtopt_sim.gazebo.messages import Messages
from mtopt_sim.gazebo.server import Server

VERSION = 'gazebo 11'
CHUNK = 1 << 20
DEATH_DELAY = 0.5
KEPT = 4000
"""Messages of a topic that are kept when nobody reads them: those of eight simulated seconds, one a step."""


class Feed:
    """A topic that is listened to, from the moment somebody publishes it until the end.

    There is no way to stop listening: a server that is just sending a message to somebody who stops never sends another
    one on that topic.

    Attributes:
        topic: Full name.
        kind: Type of its messages.
        received: Undecoded messages, oldest first; whoever reads them removes them.
    """

    def __init__(self, topic: str, kind: str) -> None:
        self.topic = topic
        self.kind = kind
        self.received: deque[bytes] = deque(maxlen=KEPT)
        self.published = False


class ClassicTransport:
    """A client of the server's master.

    Args:
        server: The server.
        messages: Gazebo's message types.
        world: Name of the world that should run.
        timeout: s of wall time for the server to come up.

    Raises:
        TransportError: The server did not come up, is of another version, or runs another world.
    """

    def __init__(self, server: Server, messages: Messages, world: str, timeout: float) -> None:
        self._server = server
        self._messages = messages
        self._selector = selectors.DefaultSelector()
        self._feeds: dict[str, Feed] = {}
        self._subscribers: dict[str, list[socket.socket]] = {}
        self._versions: list[str] = []
        self._worlds: set[str] = set()
        self._listener = server.listen()
        self._port = int(self._listener.getsockname()[1])
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        deadline = time.monotonic() + timeout
        self._master = self._connect_to_master(deadline)
        self._watch(self._master, self._from_master)
        self.wait_for(lambda: bool(self._versions), deadline, 'the master did not introduce itself')
        if not self._versions[0].lower().startswith(VERSION):
            raise TransportError(f'the server is {self._versions[0]!r}; mtopt speaks with {VERSION} only')
        complaint = f'the server does not run the world {world!r}'
        self.wait_for(lambda: bool(self._worlds), deadline, complaint)
        if world not in self._worlds:
            raise TransportError(f'{complaint}, but {", ".join(self._worlds)}')
        self._prefix = f'/gazebo/{world}/'

    def close(self) -> None:
        """Close every connection."""
        for key in list(self._selector.get_map().values()):
            self.close_connection(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()

    def feed(self, topic: str, kind: str) -> Feed:
        """Listen to a topic of the world."""
        full = self._prefix + topic
        feed = self._feeds[full] = Feed(full, kind)
        self._tell_master('subscribe', self._subscription(feed))
        return feed

    def advertise(self, topic: str, kind: str) -> Callable[[Any], None]:
        """Announce that a topic of the world will be published; return what publishes a message."""
        full = self._prefix + topic
        announcement = self._messages.new(
            'Publish', topic=full, msg_type=f'gazebo.msgs.{kind}', host=LOOPBACK, port=self._port
        )
        self._subscribers[full] = []
        self._tell_master('advertise', announcement)

        def publish(message: Any) -> None:
            data = framed(message.SerializeToString())
            for connection in self._subscribers[full]:
                self._send(connection, data)

        return publish

    def subscribed(self, topic: str) -> bool:
        """Return whether the server listens to a topic that is advertised here."""
        return bool(self._subscribers[self._prefix + topic])

    def wait_for(
        self,
        condition: Callable[[], bool],
        deadline: float,
        complaint: str,
        details: Callable[[], object] = lambda: '',
    ) -> None:
        """Handle what arrives until a condition holds.

        Args:
            condition: Asked whenever something has arrived.
            deadline: On the monotonic clock, s.
            complaint: What is wrong when it never holds.
            details: What is the case instead.

        Raises:
            TransportError: The deadline passed, or the server is gone.
        """
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                self._server.check()
                found = details()
                raise TransportError(complaint + (f', but {found}' if found else '') + self._server.last_words())
            self.pump(left)

    def pump(self, seconds: float) -> None:
        """Handle what has arrived; wait for something for at most so long.

        Raises:
            TransportError: The server is gone.
        """
        for key, _ in self._selector.select(seconds):
            key.data()

    def close_connection(self, connection: socket.socket) -> None:
        """Close a connection of this client."""
        self._selector.unregister(connection)
        connection.close()

    def _connect_to_master(self, deadline: float) -> socket.socket:
        while True:
            try:
                return self._server.connect(MASTER_PORT)
            except TransportError:
                self._server.check()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _watch(self, connection: socket.socket, handle: Callable[[bytes], None]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        frames = Frames()

        def read() -> None:
            try:
                data = connection.recv(CHUNK)
            except OSError:
                data = b''
            if not data:
                self._lost(connection)
                return
            for payload in frames.feed(data):
                handle(payload)

        self._selector.register(connection, selectors.EVENT_READ, read)

    def _lost(self, connection: socket.socket) -> None:
        self.close_connection(connection)
        for connections in self._subscribers.values():
            if connection in connections:
                connections.remove(connection)
                return
        # A server that has just died takes a moment to be seen as dead, with what it said last.
        time.sleep(DEATH_DELAY)
        self._server.check()
        raise TransportError("Gazebo's server closed a connection")

    def _accept(self) -> None:
        connection, _ = self._listener.accept()

        def hear(data: bytes) -> None:
            packet = self._messages.parse('Packet', data)
            if packet.type == 'sub':
                wanted = self._messages.parse('Subscribe', packet.serialized_data)
                self._subscribers.setdefault(wanted.topic, []).append(connection)

        self._watch(connection, hear)

    def _from_master(self, data: bytes) -> None:
        packet = self._messages.parse('Packet', data)
        if packet.type == 'version_init':
            self._versions.append(self._messages.parse('GzString', packet.serialized_data).data)
        elif packet.type == 'topic_namepaces_init':
            self._worlds.update(self._messages.parse('GzString_V', packet.serialized_data).data)
        elif packet.type == 'topic_namespace_add':
            self._worlds.add(self._messages.parse('GzString', packet.serialized_data).data)
        elif packet.type in ('publisher_subscribe', 'publisher_advertise'):
            publisher = self._messages.parse('Publish', packet.serialized_data)
            feed = self._feeds.get(publisher.topic)
            if feed is not None and not feed.published:
                self._listen(feed, publisher.port)

    def _listen(self, feed: Feed, port: int) -> None:
        connection = self._server.connect(port)
        self._watch(connection, feed.received.append)
        self._send(connection, self._packet('sub', self._subscription(feed)))
        feed.published = True

    def _subscription(self, feed: Feed) -> Any:
        return self._messages.new(
            'Subscribe',
            topic=feed.topic,
            host=LOOPBACK,
            port=self._port,
            msg_type=f'gazebo.msgs.{feed.kind}',
            latching=False,
        )

    def _tell_master(self, kind: str, message: Any) -> None:
        self._send(self._master, self._packet(kind, message))

    def _packet(self, kind: str, message: Any) -> bytes:
        now = time.time_ns()
        packet = self._messages.new('Packet', type=kind, serialized_data=message.SerializeToString())
        packet.stamp.sec, packet.stamp.nsec = divmod(now, 1_000_000_000)
        return framed(packet.SerializeToString())

    def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            connection.sendall(data)
        except OSError as error:
            self._server.check()
            raise TransportError(f"Gazebo's server takes no messages: {error}") from None

"""Writes an episode's messages to its bag from a thread of its own.

Callbacks only append to a bounded queue: a slow disk costs messages that are counted, never a blocked robot. What a
killed process loses is what waits in the queue, and of what was written at most `FLUSH_PERIOD` or one chunk.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mtopt_core.bag import BagWriter
from mtopt_core.errors import BagError

FLUSH_PERIOD = 0.5  # s


class RawMessage(NamedTuple):
    """A serialised message on its way into a bag.

    Attributes:
        topic: Absolute name.
        type_name: For instance `sensor_msgs/msg/JointState`.
        stamp: ns.
        cdr: Its bytes.
        latched: Whether late subscribers get the topic's last message.
    """

    topic: str
    type_name: str
    stamp: int
    cdr: bytes | memoryview
    latched: bool = False


@dataclass(frozen=True)
class Written:
    """What became of an episode's messages.

    Attributes:
        path: The finished bag; None when it could not be finished.
        messages: In the bag.
        dropped: Lost because the queue was full or the disk refused them.
        error: Why the bag could not be finished.
    """

    path: Path | None
    messages: int
    dropped: int
    error: BagError | None = None


class EpisodeWriter:
    """Makes and writes one bag from a thread of its own: on a busy disk even making a folder takes seconds.

    Attributes:
        opened: Done once the bag is made, or with why it could not be.
        dropped: Messages lost so far.

    Args:
        open_bag: Makes the bag.
        queue_bytes: Largest size of what waits to be written.
    """

    def __init__(self, open_bag: Callable[[], BagWriter], queue_bytes: int) -> None:
        self._open_bag = open_bag
        self.opened: Future[BagError | None] = Future()
        self._queue_bytes = queue_bytes
        self._queue: deque[RawMessage] = deque()
        self._waiting = 0
        self._ended = False
        self._changed = threading.Condition()
        self._written: Future[Written] = Future()
        self._messages = 0
        self.dropped = 0
        threading.Thread(target=self._run, name='bag writer', daemon=True).start()

    def put(self, message: RawMessage) -> bool:
        """Queue a message; return whether there was room, else it is dropped and counted. Never waits for the disk."""
        with self._changed:
            if self._waiting + len(message.cdr) > self._queue_bytes:
                self.dropped += 1
                return False
            self._queue.append(message)
            self._waiting += len(message.cdr)
            self._changed.notify()
        return True

    def finish(self) -> Future[Written]:
        """Let the thread write what is queued and finish the bag; nothing may be put after this."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        return self._written

    def _run(self) -> None:
        error: BagError | None = None
        path: Path | None = None
        try:
            bag = self._open_bag()
        except BagError as broken:
            error = broken
        self.opened.set_result(error)
        flushed = -FLUSH_PERIOD  # so that what the episode is reaches the disk at once
        for message in self._queued():
            if error is None:
                try:
                    if message is not None:
                        bag.write(message.topic, message.type_name, message.cdr, message.stamp, latched=message.latched)
                    if time.monotonic() - flushed >= FLUSH_PERIOD:
                        bag.flush()
                        flushed = time.monotonic()
                except BagError as broken:
                    error = broken
            if message is None:
                continue
            if error is None:
                self._messages += 1
            else:
                with self._changed:
                    self.dropped += 1
        if error is None:
            try:
                path = bag.finish()
            except BagError as broken:
                error = broken
        self._written.set_result(Written(path, self._messages, self.dropped, error))

    def _queued(self) -> Iterator[RawMessage | None]:
        """Yield messages as they come, and nothing whenever none has come for a while."""
        while True:
            with self._changed:
                if not self._queue and not self._ended:
                    self._changed.wait(FLUSH_PERIOD)
                if not self._queue and self._ended:
                    return
                message = self._queue.popleft() if self._queue else None
                self._waiting -= len(message.cdr) if message else 0
            yield message

"""Frames of Gazebo's TCP connections: eight characters, the length in hexadecimal, then so many bytes."""

from __future__ import annotations

from collections.abc import Iterator

from mtopt_sim.gazebo.errors import TransportError

HEADER = 8
LARGEST = 64 * 1024 * 1024
"""Bytes; no message of this cell comes near: a longer frame means that the two sides are out of step."""


def framed(payload: bytes) -> bytes:
    """Return a payload with its header."""
    return b'%8x' % len(payload) + payload


class Frames:
    """Puts frames together from what a connection brings, in whatever pieces."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes, and yield every payload that is complete.

        Raises:
            TransportError: A header is no number, or longer than any message.
        """
        self._received += data
        while len(self._received) >= HEADER:
            end = HEADER + self._length()
            if len(self._received) < end:
                return
            payload = bytes(self._received[HEADER:end])
            del self._received[:end]
            yield payload

    def _length(self) -> int:
        header = bytes(self._received[:HEADER])
        try:
            length = int(header, 16)
        except ValueError:
            length = -1
        if not 0 <= length <= LARGEST:
            raise TransportError(f'a frame begins with {header!r}, which is no length; this is not Gazebo 11 speaking')
        return length

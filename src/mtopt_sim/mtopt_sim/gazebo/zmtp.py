"""ZMTP 3.0, what ZeroMQ speaks on a connection, as far as one who only sends needs it (rfc.zeromq.org/spec/23).

ZeroMQ takes over listening sockets that somebody else has opened, but opens those that connect itself, in this process'
own network. Into the network of Gazebo's server it has to be spoken by hand.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

VERSION = 3
GREETING = b'\xff' + bytes(8) + b'\x7f' + bytes((VERSION, 0)) + b'NULL'.ljust(20, b'\0') + bytes(32)
"""Signature, version, mechanism, and that this is not the mechanism's server."""
READY = b'\x05READY'
MORE, LONG, COMMAND = 1, 2, 4


def introduce(connection: socket.socket, kind: str) -> None:
    """Exchange with the other side what comes before the first message; a socket hung up on who did not wait for it.

    Args:
        connection: To a ZeroMQ socket; its timeout holds for each answer.
        kind: What this side is, as `DEALER`.

    Raises:
        OSError: The other side does not answer, or not like ZeroMQ 4.
    """
    connection.sendall(GREETING)
    greeting = _exactly(connection, len(GREETING))
    if greeting[:1] != GREETING[:1] or greeting[10] < VERSION:
        raise OSError(f'no greeting of ZMTP {VERSION}: {greeting[:12].hex(" ")}')
    name, value = b'Socket-Type', kind.encode()
    connection.sendall(_frame(COMMAND, READY + bytes((len(name),)) + name + len(value).to_bytes(4, 'big') + value))
    flags, size = _exactly(connection, 2)
    answer = _exactly(connection, size)
    if flags != COMMAND or not answer.startswith(READY):
        raise OSError(f'not ready: {answer!r}')


def message(frames: Sequence[bytes]) -> bytes:
    """Return a message of one or more frames."""
    *others, last = frames
    return b''.join(_frame(MORE, frame) for frame in others) + _frame(0, last)


def _frame(flags: int, body: bytes) -> bytes:
    if len(body) > 255:
        return bytes((flags | LONG,)) + len(body).to_bytes(8, 'big') + body
    return bytes((flags, len(body))) + body


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b''
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError('the connection was closed')
        data += more
    return data

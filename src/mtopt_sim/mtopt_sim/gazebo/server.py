"""Gazebo's server as a child process in a network of its own, and sockets into that network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from mtopt_sim.gazebo import inside
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.installation import Installation

START_TIMEOUT, END_TIME = 60.0, 8.0
"""s of wall time."""
LOG_READ, LOG_TAIL = 1 << 16, 6
"""Bytes of the log's end that are looked at, and lines of it that are told."""
NO_NAMESPACES = (
    'The server needs a network of its own: run as root, or let users make namespaces '
    '(`sysctl kernel.unprivileged_userns_clone=1`; in a container, seccomp=unconfined)'
)
_COLOURS = re.compile(r'\x1b\[[0-9;]*m')


class Server:
    """A running server; a context manager that ends it.

    Ends with this process, however that ends.

    Args:
        installation: Where Gazebo is.
        files: Texts of the world and its models, by their paths.
        world: Path of the world among them.
        display: Whether cameras can render.

    Raises:
        TransportError: It did not start.
    """

    def __init__(self, installation: Installation, files: Mapping[str, str], world: str, display: bool = True) -> None:
        # A file without a name: it is gone with the last who has it open, however they end.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self._control, theirs = socket.socketpair()
        log = self._log.fileno()
        arguments = [str(installation.root), world, str(log), *(() if display else ('no-display',))]
        # -S: the packages of this environment are of no use inside, and one of them would start Python again.
        python = [sys.executable, '-S', '-E', str(Path(inside.__file__))]
        self._process = subprocess.Popen(
            [*isolation(), *python, *arguments],
            stdin=theirs.fileno(), stderr=subprocess.PIPE, pass_fds=(log,), start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._control.settimeout(START_TIMEOUT)
        try:
            self._ask(files)
        except TransportError as error:
            self.close()
            if 'unshare:' in str(error):
                raise TransportError(f'{error}. {NO_NAMESPACES}') from None
            raise

    def __enter__(self) -> Server:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.close()

    def close(self) -> None:
        """End the server and everything started with it."""
        self._control.close()
        try:
            self._process.wait(END_TIME)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._log.close()

    def check(self) -> None:
        """See that the server runs.

        Raises:
            TransportError: It does not; the message has the end of its log.
        """
        self._ask({'do': 'status'})

    def connect(self, port: int) -> socket.socket:
        """Return a socket connected to a port of the server's network.

        Raises:
            TransportError: Nobody listens there, or the server is gone.
        """
        return self._ask({'do': 'connect', 'port': port})

    def listen(self) -> socket.socket:
        """Return a listening socket of the server's network.

        Raises:
            TransportError: The server is gone.
        """
        return self._ask({'do': 'listen'})

    def multicaster(self) -> socket.socket:
        """Return a UDP socket that sends to multicast groups of the server's network.

        Raises:
            TransportError: The server is gone.
        """
        return self._ask({'do': 'multicast'})

    def group_member(self, group: str, port: int) -> socket.socket:
        """Return a UDP socket that hears a multicast group of the server's network.

        Raises:
            TransportError: The server is gone.
        """
        return self._ask({'do': 'join', 'group': group, 'port': port})

    def _ask(self, request: Mapping[str, str | int]) -> socket.socket:
        try:
            self._control.sendall(json.dumps(request).encode() + b'\n')
        except OSError:
            raise self._gone() from None
        return self._answer()

    def _answer(self) -> socket.socket:
        answer, descriptors = b'', []
        try:
            while not answer.endswith(b'\n'):
                data, received, _, _ = socket.recv_fds(self._control, 4096, 1)
                if not data:
                    raise self._gone()
                answer += data
                descriptors += received
        except ConnectionError:
            raise self._gone() from None
        except OSError as error:
            raise TransportError(f"Gazebo's server does not answer: {error}{self.last_words()}") from None
        problem = json.loads(answer).get('error')
        if problem:
            raise TransportError(f'{problem}{self.last_words()}')
        return socket.socket(fileno=descriptors[0]) if descriptors else self._control

    def _gone(self) -> TransportError:
        """Return what is to be said of a server that has closed its socket; it says all of its last words first."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIME)
        return TransportError(f"Gazebo's server has ended{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the server, or who should have started it, has printed, as a message goes on."""
        words = ''
        if self._process.poll() is not None and self._process.stderr is not None:
            words = self._process.stderr.read().decode(errors='replace')
        # From the end: where the file stands is where the server goes on writing.
        size = os.fstat(self._log.fileno()).st_size
        log = os.pread(self._log.fileno(), LOG_READ, max(0, size - LOG_READ))
        words += _COLOURS.sub('', log.decode(errors='replace'))
        lines = [line for line in words.splitlines() if line.strip()][-LOG_TAIL:]
        return f'; its last words: {" | ".join(lines)}' if lines else ''


def isolation() -> list[str]:
    """Return the command that gives what follows a network, processes and mounts of its own.

    Raises:
        TransportError: There is no such command.
    """
    if shutil.which('unshare') is None:
        raise TransportError('`unshare` is missing; it is in the package util-linux')
    user = () if os.geteuid() == 0 else ('--user', '--map-root-user')
    return ['unshare', *user, '--net', '--pid', '--mount', '--fork', '--kill-child']

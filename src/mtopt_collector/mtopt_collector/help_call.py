"""Calls a person by a command of the user's choice, with a picture: mail, messenger, a lamp above the cell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mtopt_core.errors import ConfigurationError, MtoptError
from mtopt_core.paths import DataFolder


class HelpCallError(MtoptError):
    """Nobody could be called by the command."""


class HelpCall:
    """The robot's open call for help, if there is one.

    The command finds in its environment: `MTOPT_ROBOT`, `MTOPT_MESSAGE`, empty when nobody is needed any more, and
    `MTOPT_PICTURES`, the folder of what each camera saw last, `<camera>.jpg`. It is started and not waited for.

    Attributes:
        message: What is the matter and what to do; empty while nobody is needed.

    Args:
        robot: Its namespace.
        command: Program and arguments, as in a shell but without one; empty for none.
        data: The pictures are kept in its folder `help/<robot>`.

    Raises:
        ConfigurationError: The command cannot be split into words, or there is no such program: better at the start
            than in the night.
    """

    def __init__(self, robot: str, command: str, data: DataFolder) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(f'parameter help_command {command!r}: {error}') from None
        if self._command and shutil.which(self._command[0]) is None:
            raise ConfigurationError(
                f'parameter help_command: there is no program {self._command[0]}, or it cannot be run'
            )
        self._robot = robot
        self._folder: Path = data.root / 'help' / robot
        self._running: list[subprocess.Popen[bytes]] = []
        self.message = ''

    def call(self, message: str, images: Mapping[str, bytes]) -> None:
        """Call, or say that nobody is needed any more.

        Args:
            message: What is the matter and what to do; empty: nobody is needed any more.
            images: JPEGs by camera.

        Raises:
            HelpCallError: The command cannot be run any more; the call is open all the same.
        """
        self.message = message
        # A disk that is full may be the very reason for the call.
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            for camera, jpeg in images.items():
                (self._folder / f'{camera}.jpg').write_bytes(jpeg)
        self._running = [process for process in self._running if process.poll() is None]
        if self._command:
            environment = {
                'MTOPT_ROBOT': self._robot,
                'MTOPT_MESSAGE': message,
                'MTOPT_PICTURES': str(self._folder.absolute()),
            }
            try:
                self._running.append(subprocess.Popen(self._command, env={**os.environ, **environment}))
            except OSError as error:
                raise HelpCallError(
                    f'help_command {self._command[0]} cannot be run: {error.strerror}; nobody was told: {message}'
                ) from None

"""Ctrl-C, or the SIGTERM of a service manager, that lets what runs come to its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """A context in which the first of these signals is a request and the second does what it ever did.

    Attributes:
        requested: Whether one came; loops ask it between two pieces of work.
        terminate: Called at all but Ctrl-C, which reaches child processes by itself.
    """

    def __init__(self) -> None:
        self.requested = False
        self.terminate: Callable[[], object] = bool

    def __enter__(self) -> Interruption:
        """Take over the signals."""
        # What `nohup` has made deaf to the end of its terminal stays so.
        deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        heeded = [number for number in SIGNALS if not (deaf and number == signal.SIGHUP)]
        self._before = {number: signal.signal(number, self._request) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        self._give_back()

    def _request(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested = True
        self._give_back()
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)  # the shell sends one, and its terminal another
        if number != signal.SIGINT:
            self.terminate()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

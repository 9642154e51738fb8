"""Ctrl-C that lets what runs come to its end."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interruption:
    """A context in which the first Ctrl-C is a request and the second one is an interrupt.

    Attributes:
        requested: Whether Ctrl-C was pressed; loops ask it between two pieces of work.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Interruption:
        """Take over SIGINT."""
        self._before = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give SIGINT back."""
        signal.signal(signal.SIGINT, self._before)

    def _request(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested = True
        signal.signal(signal.SIGINT, self._before)

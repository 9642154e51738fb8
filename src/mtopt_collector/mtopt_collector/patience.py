"""How long what holds the collection up is waited out before a person is called."""

from __future__ import annotations

import time
from collections.abc import Callable


class Patience:
    """With one kind of trouble: it may go by itself, and a person is called where it does not.

    Args:
        seconds: How long it may last.
        call: Calls a person, with the reason.
        clock: s, steady.
    """

    def __init__(
        self, seconds: float, call: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._call, self._clock = seconds, call, clock
        self._since: float | None = None

    def lasts(self, reason: str) -> None:
        """Note that there is trouble; after too long of it a person is called, again and again."""
        now = self._clock()
        since = self._since = now if self._since is None else self._since
        if now - since > self._seconds:
            self._call(reason)

    def is_over(self) -> None:
        """Note that there is none, or that a person has come: what comes next begins anew."""
        self._since = None

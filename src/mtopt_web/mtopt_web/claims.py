"""Who is looking at what, so that several people who label one by one are shown different episodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable

PATIENCE = 60.0
"""s after which what somebody looks at and does nothing about is free again."""


class Claims:
    """What each person looks at; one thing at a time. Any thread may ask."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._held: dict[Hashable, tuple[str, float]] = {}

    def claim(self, thing: Hashable, owner: str) -> bool:
        """Take a thing in place of the one before; return whether it is free of others."""
        now = time.monotonic()
        with self._lock:
            holder, until = self._held.get(thing, (owner, now))
            if holder != owner and until > now:
                return False
            self._release(owner)
            self._held[thing] = owner, now + self._patience
            return True

    def release(self, owner: str) -> None:
        """Let go of whatever somebody holds."""
        with self._lock:
            self._release(owner)

    def _release(self, owner: str) -> None:
        self._held = {thing: held for thing, held in self._held.items() if held[0] != owner}

"""Where a training's time goes: what each part of the learner works, and what it waits for another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LOADING = 'loader works'
"""In a thread of its own, beside the others."""
LABELLING = 'Bellman updater works'
UNLABELLED = 'Bellman updater waits for the loader'
TRAINING = 'trainer works'
BATCH = 'trainer waits for the loader'


class Stopwatch:
    """Adds up time by part; each part is one thread's."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((LOADING, LABELLING, UNLABELLED, TRAINING, BATCH), 0.0)
        self._lap = dict(self.seconds)

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Add the time that passes within to a part's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def lap(self) -> dict[str, float]:
        """Return the time of each part since the last call, s."""
        now = dict(self.seconds)
        passed = {part: now[part] - self._lap[part] for part in now}
        self._lap = now
        return passed

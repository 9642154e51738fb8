"""Knows when the last message of an episode has come."""

from __future__ import annotations

from collections.abc import Mapping


class Completeness:
    """Follows what has come of an episode.

    Topics have no mutual order, so the end of an episode may be announced before the last step's answer or the final
    images arrive. Complete means: every action has its answer, there is an observation at or after the end of the last
    step, and its images are in. A simulator's true outcomes must belong to that observation.

    Args:
        truth_expected: Whether a simulator tells the true outcomes.
    """

    def __init__(self, truth_expected: bool) -> None:
        self._truth_expected = truth_expected
        self._answered: set[int] = set()
        self._rest_at = 0
        self._observed = 0
        self._wanted: Mapping[str, int] = {}
        self._images: dict[str, int] = {}
        self._truth = 0

    def answered(self, step: int, rest_at: int) -> None:
        """Take the arm controller's answer to an action, with the stamp at which the arm is at rest, ns."""
        self._answered.add(step)
        self._rest_at = max(self._rest_at, rest_at)

    def observed(self, stamp: int, images: Mapping[str, int]) -> None:
        """Take an observation and the stamps of its cameras' images, ns."""
        self._observed, self._wanted = stamp, images

    def imaged(self, camera: str, stamp: int) -> None:
        """Take a camera's image."""
        self._images[camera] = stamp

    def graded(self, stamp: int) -> None:
        """Take the true outcomes at a stamp, ns."""
        self._truth = stamp

    @property
    def readable(self) -> bool:
        """Whether the newest observation has its images: a bag that ends here can be read."""
        return all(self._images.get(camera, -1) >= stamp for camera, stamp in self._wanted.items())

    def reached(self, steps: int) -> bool:
        """Return whether everything of an episode of so many steps is in."""
        return (
            len(self._answered) >= steps
            and self._observed > 0
            and self._observed >= self._rest_at
            and self.readable
            and (not self._truth_expected or self._truth >= self._observed)
        )

"""Knows when the last message of an episode has come, and whether one in between has not."""

from __future__ import annotations

from collections.abc import Mapping


class Completeness:
    """Follows what has come of an episode.

    Topics have no mutual order, so the end of an episode may be announced before the last step's answer or the final
    images arrive. Complete means: every action has its answer, there is an observation at or after the end of the last
    step, and the images of that one and of those the actions were decided on are in, so that the bag can be read. A
    simulator's true outcomes must belong to the last observation.

    Args:
        truth_expected: Whether a simulator tells the true outcomes.
    """

    def __init__(self, truth_expected: bool) -> None:
        self._truth_expected = truth_expected
        self._answered: set[int] = set()
        self._rest_at = 0
        self._decided_on: dict[int, int] = {}
        self._observations: dict[int, Mapping[str, int]] = {}
        self._images: set[tuple[str, int]] = set()
        self._truth = 0

    def acted(self, step: int, observation: int) -> None:
        """Take an action and the stamp of the observation it was decided on, ns."""
        self._decided_on[step] = observation

    def answered(self, step: int, rest_at: int) -> None:
        """Take the arm controller's answer to an action, with the stamp at which the arm is at rest, ns."""
        self._answered.add(step)
        self._rest_at = max(self._rest_at, rest_at)

    def observed(self, stamp: int, images: Mapping[str, int]) -> None:
        """Take an observation and the stamps of its cameras' images, ns."""
        self._observations[stamp] = images

    def imaged(self, camera: str, stamp: int) -> None:
        """Take a camera's image."""
        self._images.add((camera, stamp))

    def graded(self, stamp: int) -> None:
        """Take the true outcomes at a stamp, ns."""
        self._truth = stamp

    @property
    def readable(self) -> bool:
        """Whether the newest observation has its images: a bag that ends here can be read."""
        return not self._unseen(self._last)

    def missing(self, steps: int) -> str:
        """Return what of an episode of so many steps is not in; empty for nothing."""
        if len(self._answered) < steps:
            return f'{steps - len(self._answered)} of {steps} steps'
        if len(self._decided_on) < steps:
            return f'{steps - len(self._decided_on)} of {steps} actions'
        if not self._observations or self._last < self._rest_at:
            return 'the final observation'
        if unseen := self._unseen(self._last):
            return f'the final image of camera {unseen}'
        for step, stamp in self._decided_on.items():
            if stamp not in self._observations:
                return f'the observation of step {step}'
            if unseen := self._unseen(stamp):
                return f'the image of camera {unseen} of step {step}'
        if self._truth_expected and self._truth < self._last:
            return 'the true outcomes'
        return ''

    @property
    def _last(self) -> int:
        return max(self._observations, default=0)

    def _unseen(self, stamp: int) -> str:
        """Return a camera whose image an observation lacks, empty for none."""
        wanted = self._observations.get(stamp, {})
        return next((camera for camera, image in wanted.items() if (camera, image) not in self._images), '')

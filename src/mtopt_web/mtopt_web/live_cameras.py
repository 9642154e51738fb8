"""The newest picture of every camera of every robot, wherever it comes from. Any thread may put and ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

WATCHED_FOR = 5.0
"""s for which a robot counts as watched after somebody asked for its pictures."""


@dataclass(frozen=True)
class LivePicture:
    """A picture as it came.

    Attributes:
        jpeg: The picture.
        stamp: Of its exposure, ns on the robot's clock.
        number: Of this camera, counted up from 1; another one is another picture.
        came: When, s of steady time.
    """

    jpeg: bytes
    stamp: int
    number: int
    came: float

    @property
    def age(self) -> float:
        """How long ago it came, s."""
        return time.monotonic() - self.came


class LiveCameras:
    """Pictures by robot and camera."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[str, dict[str, LivePicture]] = {}
        self._robots: tuple[str, ...] = ()
        self._watched: dict[str, float] = {}

    def found(self, robots: tuple[str, ...]) -> None:
        """Tell which robots there are."""
        with self._lock:
            self._robots = robots

    def put(self, robot: str, camera: str, jpeg: bytes, stamp: int) -> None:
        """Take a picture in."""
        with self._lock:
            cameras = self._pictures.setdefault(robot, {})
            number = cameras[camera].number + 1 if camera in cameras else 1
            cameras[camera] = LivePicture(jpeg, stamp, number, time.monotonic())

    @property
    def robots(self) -> tuple[str, ...]:
        """The robots whose cameras can be seen."""
        with self._lock:
            return self._robots

    def watch(self, robot: str) -> Mapping[str, LivePicture]:
        """Return a robot's newest pictures by camera, and have them kept up to date for a while."""
        with self._lock:
            self._watched[robot] = time.monotonic()
            return dict(self._pictures.get(robot, {}))

    def watched(self) -> frozenset[str]:
        """Return the robots somebody asked for a moment ago; the pictures of the others cost nothing."""
        with self._lock:
            now = time.monotonic()
            return frozenset(robot for robot, since in self._watched.items() if now - since < WATCHED_FOR)

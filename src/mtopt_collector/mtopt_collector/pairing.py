"""Pairs the images of all cameras and the joint state by stamp, and refuses what does not belong together.

The first camera leads: each of its images makes one set, with the image of every other camera and the joint state that
are nearest in time. A stream's nearest item is known once it has reached the leading stamp, so a lock-step simulator,
which stamps everything alike, is paired the moment the last piece arrives, in whatever order the pieces come.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

JOINT_STATE = 'joint_state'
IMAGES_KEPT = 8
JOINT_STATES_KEPT = 128


class Refusal(StrEnum):
    """Why something was not paired."""

    BACKWARDS = 'backwards'
    """The stamp does not come after the stream's, or the set's, last one."""
    STALE = 'stale'
    """It is older than the newest joint state allows."""
    INCOMPLETE = 'incomplete'
    """Some stream had nothing near enough in time."""


@dataclass(frozen=True)
class Stamped:
    """Something with its time, ns."""

    stamp: int
    item: Any


@dataclass(frozen=True)
class PairedSet:
    """One image of every camera and the joint state that belong together.

    Attributes:
        stamp: Oldest stamp in the set, ns.
        images: By camera name.
        joint_state: The one nearest to the leading camera's image.
    """

    stamp: int
    images: dict[str, Stamped]
    joint_state: Stamped


class Pairing:
    """Collects images and joint states and yields the sets they make; its memory is bounded.

    Args:
        cameras: Names of the cameras, the leading one first.
        tolerance: Largest distance of any piece from the leading image, ns.
        max_age: Age beyond which a piece is refused, against the newest joint state, ns. A stream that jumps back
            further than this is taken for a clock that was started anew (a simulator that was restarted), and
            everything kept so far is forgotten.
    """

    def __init__(self, cameras: Sequence[str], tolerance: int, max_age: int) -> None:
        self._leader = cameras[0]
        self._cameras = tuple(cameras)
        self._tolerance = tolerance
        self._max_age = max_age
        self._streams: dict[str, deque[Stamped]] = {camera: deque(maxlen=IMAGES_KEPT) for camera in cameras}
        self._streams[JOINT_STATE] = deque(maxlen=JOINT_STATES_KEPT)
        self._last: dict[str, int] = {}
        self._last_set: int | None = None
        self.refused: Counter[Refusal] = Counter()

    def add_image(self, camera: str, stamp: int, image: Any) -> list[PairedSet]:
        """Take a camera's image; returns the sets it completes."""
        return self._add(camera, Stamped(stamp, image))

    def add_joint_state(self, stamp: int, joint_state: Any) -> list[PairedSet]:
        """Take a joint state; returns the sets it completes."""
        return self._add(JOINT_STATE, Stamped(stamp, joint_state))

    def lagging(self, limit: int) -> tuple[str, ...]:
        """Return the streams that stay silent, or more than `limit` ns behind, while others go on."""
        if not self._last:
            return ()
        newest = max(self._last.values())
        return tuple(name for name in self._streams if name not in self._last or newest - self._last[name] > limit)

    def _add(self, name: str, piece: Stamped) -> list[PairedSet]:
        last = self._last.get(name)
        if last is not None and piece.stamp <= last:
            if last - piece.stamp <= self._max_age:
                self.refused[Refusal.BACKWARDS] += 1
                return []
            self._forget()
        self._last[name] = piece.stamp
        if self._last.get(JOINT_STATE, 0) - piece.stamp > self._max_age:
            self.refused[Refusal.STALE] += 1
            return []
        stream = self._streams[name]
        if name == self._leader and len(stream) == stream.maxlen:
            self.refused[Refusal.INCOMPLETE] += 1
        stream.append(piece)
        return list(self._complete())

    def _forget(self) -> None:
        for stream in self._streams.values():
            stream.clear()
        self._last.clear()
        self._last_set = None

    def _behind(self, stamp: int) -> tuple[str, ...]:
        return tuple(name for name, stream in self._streams.items() if not stream or stream[-1].stamp < stamp)

    def _complete(self) -> Iterator[PairedSet]:
        leading = self._streams[self._leader]
        while leading and not self._behind(leading[0].stamp):
            leader = leading.popleft()
            pieces = {name: self._nearest(name, leader.stamp) for name in self._streams if name != self._leader}
            pieces[self._leader] = leader
            oldest = min(piece.stamp for piece in pieces.values())
            refusal = self._refusal(leader.stamp, pieces, oldest)
            if refusal is not None:
                self.refused[refusal] += 1
                continue
            self._last_set = oldest
            images = {camera: pieces[camera] for camera in self._cameras}
            yield PairedSet(stamp=oldest, images=images, joint_state=pieces[JOINT_STATE])

    def _refusal(self, leading: int, pieces: dict[str, Stamped], oldest: int) -> Refusal | None:
        if any(abs(piece.stamp - leading) > self._tolerance for piece in pieces.values()):
            return Refusal.INCOMPLETE
        if self._last[JOINT_STATE] - oldest > self._max_age:
            return Refusal.STALE
        # A camera slower than the leader gives one image to two sets; episodes need stamps that grow.
        if self._last_set is not None and oldest <= self._last_set:
            return Refusal.BACKWARDS
        return None

    def _nearest(self, name: str, stamp: int) -> Stamped:
        return min(self._streams[name], key=lambda piece: abs(piece.stamp - stamp))

"""What has arrived from the cell: observations with their images, and what became of actions.

Images, observations and steps travel on topics of their own and arrive in any order; here they are put together by
stamp. Callbacks put in, the control loop waits; all timeouts are steady wall time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from mtopt_core.episode import Observation
from mtopt_core.errors import MtoptError
from mtopt_core.messages import observation_from_message, stamp_of

KEPT = 32
CANCEL_PERIOD = 0.05  # s

Found = TypeVar('Found')


class WaitCancelledError(MtoptError):
    """Waiting was given up because the episode was cancelled or the node stops."""


class Inbox:
    """Thread-safe; messages are `mtopt_msgs`'."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._images: dict[str, OrderedDict[int, bytes]] = defaultdict(OrderedDict)
        self._observations: deque[Any] = deque(maxlen=KEPT)
        self._steps: deque[Any] = deque(maxlen=KEPT)

    @property
    def newest(self) -> int:
        """Stamp of the newest observation, ns; -1 before the first."""
        with self._arrived:
            return _stamp(self._observations[-1]) if self._observations else -1

    def add_image(self, camera: str, stamp: int, jpeg: bytes) -> None:
        """Put in a camera's JPEG, stamped in ns."""
        with self._arrived:
            images = self._images[camera]
            images[stamp] = jpeg
            if len(images) > KEPT:
                images.popitem(last=False)
            self._arrived.notify_all()

    def add_observation(self, message: Any) -> bool:
        """Put in an `Observation` message; return whether its stamp fell, that is, the cell's clock began anew."""
        with self._arrived:
            fell = bool(self._observations) and _stamp(message) < _stamp(self._observations[-1])
            if fell:
                self._observations.clear()
            self._observations.append(message)
            self._arrived.notify_all()
            return fell

    def add_step(self, message: Any) -> None:
        """Put in a `Step` message."""
        with self._arrived:
            self._steps.append(message)
            self._arrived.notify_all()

    def wait_for_observation(
        self,
        earliest: int,
        views: tuple[str, ...],
        timeout: float,
        cancelled: Callable[[], bool],
        *,
        newest: bool = False,
    ) -> Observation | None:
        """Return an observation at or after a stamp with the images of all views, none when time is up.

        Args:
            earliest: ns.
            views: Names of cameras.
            timeout: s.
            cancelled: Asked now and then whether to give up.
            newest: Whether it shall be the newest of several, not the first.

        Raises:
            WaitCancelledError: It said so.
        """
        return self._wait(lambda: self._complete(earliest, views, newest), timeout, cancelled)

    def wait_for_step(self, episode_id: str, step: int, timeout: float, cancelled: Callable[[], bool]) -> Any | None:
        """Return the `Step` message of an action, none when time is up; see `wait_for_observation`."""

        def find() -> Any | None:
            matches = (message for message in self._steps if (message.episode_id, message.step) == (episode_id, step))
            return next(matches, None)

        return self._wait(find, timeout, cancelled)

    def missing_views(self, earliest: int, views: tuple[str, ...]) -> list[str] | None:
        """Return the views that observations since a stamp lack, none where there was no such observation."""
        with self._arrived:
            messages = [message for message in self._observations if _stamp(message) >= earliest]
            return [view for view in views if self._image(messages[-1], view) is None] if messages else None

    def _wait(self, find: Callable[[], Found | None], timeout: float, cancelled: Callable[[], bool]) -> Found | None:
        deadline = time.monotonic() + timeout
        with self._arrived:
            while (found := find()) is None:
                if cancelled():
                    raise WaitCancelledError('the episode was cancelled, or the node was deactivated')
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                self._arrived.wait(min(remaining, CANCEL_PERIOD))
            return found

    def _complete(self, earliest: int, views: tuple[str, ...], newest: bool) -> Observation | None:
        for message in reversed(self._observations) if newest else self._observations:
            if _stamp(message) >= earliest:
                images = {view: self._image(message, view) for view in views}
                found = {view: jpeg for view, jpeg in images.items() if jpeg is not None}
                if len(found) == len(views):
                    return observation_from_message(message, found)
        return None

    def _image(self, message: Any, view: str) -> bytes | None:
        stamps = dict(zip(message.cameras, message.image_stamps, strict=True))
        return self._images[view].get(stamp_of(stamps[view])) if view in stamps else None


def _stamp(message: Any) -> int:
    return stamp_of(message.header.stamp)

"""Notices cameras that see nothing, or always the same: what they show must not be acted on, nor learned from."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np

# Brightness, of 255, by which the lightest and the darkest part of a picture differ at least.
LEAST_CONTRAST = 6
# Observations that a picture stays the same for, to the last bit, at least.
REPEATS = 3


@dataclass
class _Seen:
    """What a camera showed last: its checksum, how often in a row, and how far the tip has travelled meanwhile, m."""

    checksum: int
    repeats: int = 0
    travel: float = 0.0


class BlindnessWatch:
    """Looks at every picture of some cameras.

    Args:
        frozen_after: m that the tip travels while a camera's picture stays the same to the last bit, until it is taken
            for frozen. A camera that sees the arm changes, and a real one that does not has noise.
    """

    def __init__(self, frozen_after: float) -> None:
        self._frozen_after = frozen_after
        self._seen: dict[str, _Seen] = {}
        self._tip: np.ndarray | None = None

    def look(self, jpegs: dict[str, bytes], tip: np.ndarray) -> str:
        """Return which camera is blind, in words; empty for none.

        Args:
            jpegs: New pictures by camera.
            tip: `(3,)` m, where the gripper's tip is.
        """
        travelled = 0.0 if self._tip is None else float(np.linalg.norm(tip - self._tip))
        self._tip = tip
        reasons = [self._matter(camera, jpeg, travelled) for camera, jpeg in jpegs.items()]
        return next((reason for reason in reasons if reason), '')

    def _matter(self, camera: str, jpeg: bytes, travelled: float) -> str:
        checksum = crc32(jpeg)
        seen = self._seen.get(camera)
        if seen is None or seen.checksum != checksum:
            seen = self._seen[camera] = _Seen(checksum)
        else:
            seen.repeats += 1
            seen.travel += travelled
        if seen.repeats >= REPEATS and seen.travel > self._frozen_after:
            return (
                f'camera {camera} is frozen: the same picture {seen.repeats + 1} times while the arm moved '
                f'{seen.travel:.2f} m; restart its driver'
            )
        if shows_nothing(jpeg):
            return f'camera {camera} is black, or shows but one brightness; look at its lens, light and cable'
        return ''


def shows_nothing(jpeg: bytes) -> bool:
    """Return whether a picture has the same brightness everywhere, an eighth of its size being looked at."""
    small = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return small is not None and int(small.max()) - int(small.min()) < LEAST_CONTRAST

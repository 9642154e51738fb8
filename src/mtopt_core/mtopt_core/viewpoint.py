"""Where in a camera's picture a point of the cell lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Viewpoint:
    """A pinhole camera with square pictures, at one moment.

    Attributes:
        position: `(3,)` m, base frame.
        rotation: `(3, 3)`; its columns are the picture's right, its up, and backward, in the base frame.
        field_of_view: From edge to edge, rad.
    """

    position: np.ndarray
    rotation: np.ndarray
    field_of_view: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where points `(N, 3)`, m in the base frame, lie in the picture.

        Returns:
            `(N, 2)` in sides of the picture, right and down from its upper left corner; NaN for points that are not in
            front of the camera.
        """
        right, up, backward = ((points - self.position) @ self.rotation).T
        depth = np.where(backward < 0, -backward, np.nan)
        scale = 2 * np.tan(self.field_of_view / 2) * depth
        return np.stack([0.5 + right / scale, 0.5 - up / scale], axis=1)

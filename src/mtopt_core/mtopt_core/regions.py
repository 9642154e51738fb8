"""A flat part of the cell as if seen from straight above, cut out of a camera's picture.

Where something lies on a plate is a matter of a few pixels in a picture of the whole cell, and looks different from
every camera. Cut out and rectified it is large, and the same place is the same pixel in every view.
"""

from __future__ import annotations

from math import ceil, sqrt

import cv2
import numpy as np

from mtopt_core.images import crop_resize

Corner = tuple[float, float]
Corners = tuple[Corner, Corner, Corner, Corner]
"""Where the corners of a flat square are in a picture, going round: columns and rows as shares of the centre square."""
Regions = dict[str, dict[str, Corners]]
"""What of a skill is looked at: corners by skill and camera."""

SMALLEST_AREA = 1e-3
"""Smallest area of a region that shows anything, as a share of the picture: 2 by 2 px of 64."""


def side_needed(corners: Corners, size: int) -> int:
    """Return which side a picture must have, px, for a region to be as large in it as rectified to `size`."""
    return ceil(size / sqrt(_area(corners)))


def rectify(rgb: np.ndarray, corners: Corners, size: int) -> np.ndarray:
    """Return the flat square between four corners as if seen from straight above.

    What stands on it leans away from the camera; beyond the picture its border is repeated.

    Args:
        rgb: `(H, W, 3) uint8`.
        corners: Of the square; the first becomes the upper left one, the second the upper right one.
        size: Side of the result, px.

    Returns:
        `(size, size, 3) uint8`.
    """
    side = min(rgb.shape[:2])
    # Many pixels for one of the result are averaged first, or fine things would come and go.
    side //= max(side // side_needed(corners, size), 1)
    square = crop_resize(rgb, side)
    # Shares count from the outer edge of the first pixel, OpenCV from its middle.
    target = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size - 0.5
    to_picture = cv2.getPerspectiveTransform(
        target.astype(np.float32), (np.array(corners) * side - 0.5).astype(np.float32)
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(square, to_picture, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def goes_round(corners: Corners) -> bool:
    """Return whether corners are those of a square seen at a slant: convex, in order, and not all on a line."""
    points = np.array(corners, np.float32)
    return bool(cv2.isContourConvex(points)) and _area(corners) > SMALLEST_AREA


def _area(corners: Corners) -> float:
    """Return a region's area as a share of the picture's."""
    return float(cv2.contourArea(np.array(corners, np.float32)))

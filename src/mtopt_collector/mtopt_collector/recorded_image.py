"""Brings a camera's image to the size it is recorded at and encodes it, once.

Nothing is cropped here: the crop is `mtopt_core.images.decode_square`, by which policy and learner see the JPEG made
here. The shorter side is brought to the recorded size, so that the centre square of the picture has it.
"""

from __future__ import annotations

import cv2
import numpy as np

from mtopt_core.images import decode_jpeg, encode_jpeg


def shrink(rgb: np.ndarray, size: int) -> np.ndarray:
    """Shrink an image by area until its shorter side has `size` px; smaller ones and size 0 are left alone.

    Args:
        rgb: `(H, W, 3) uint8`.
        size: px; 0 keeps the camera's own size.
    """
    height, width = rgb.shape[:2]
    shorter = min(height, width)
    if size == 0 or shorter <= size:
        return rgb
    scaled = (max(size, round(width * size / shorter)), max(size, round(height * size / shorter)))
    return cv2.resize(rgb, scaled, interpolation=cv2.INTER_AREA)


def recorded_jpeg(rgb: np.ndarray, size: int, quality: int) -> bytes:
    """Return the JPEG to record of an `(H, W, 3) uint8` image.

    Raises:
        ImageError: The array is not such an image.
    """
    return encode_jpeg(shrink(rgb, size), quality)


def recorded_from_jpeg(jpeg: bytes, size: int, quality: int) -> bytes:
    """Return the JPEG to record of a camera's JPEG: the very same bytes unless it must be shrunk.

    Raises:
        ImageError: The data is no JPEG, or is cut off.
    """
    rgb = decode_jpeg(jpeg)
    smaller = shrink(rgb, size)
    return jpeg if smaller is rgb else encode_jpeg(smaller, quality)

"""What a detector looks at, to be checked by eye: regions outlined in each camera's picture, and rectified beneath."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from mtopt_core.images import crop_resize, decode_jpeg
from mtopt_core.regions import Corners, Regions, rectify

SIDE = 320
"""Side of each picture of the sheet, px."""
GREEN, RED = (40, 220, 60), (230, 40, 40)


def picture_of_regions(jpegs: Mapping[str, bytes], regions: Regions) -> np.ndarray:
    """Return a sheet with two rows for each region and a column for each camera.

    Args:
        jpegs: An episode's final images, by camera.
        regions: What is looked at; a camera without an image is black.

    Returns:
        `(H, W, 3) uint8` RGB. The region's first corner is red.

    Raises:
        ImageError: An image is damaged.
    """
    cameras = sorted({camera for by_camera in regions.values() for camera in by_camera})
    images = {camera: decode_jpeg(jpegs[camera]) for camera in cameras if camera in jpegs}
    sheet = np.zeros((2 * len(regions), len(cameras), SIDE, SIDE, 3), np.uint8)
    for row, by_camera in enumerate(regions.values()):
        for camera in by_camera.keys() & images.keys():
            column = cameras.index(camera)
            sheet[2 * row, column] = _outlined(images[camera], by_camera[camera])
            sheet[2 * row + 1, column] = rectify(images[camera], by_camera[camera], SIDE)
    return np.concatenate([np.concatenate(list(pictures), axis=1) for pictures in sheet])


def _outlined(rgb: np.ndarray, corners: Corners) -> np.ndarray:
    picture = crop_resize(rgb, SIDE)
    points = np.round(np.array(corners) * SIDE).astype(np.int32)
    cv2.polylines(picture, [points], True, GREEN, 1, cv2.LINE_AA)
    cv2.circle(picture, points[0].tolist(), 4, RED, -1, cv2.LINE_AA)
    return picture

"""How far shapes reach in a direction, for lying, gripping and lifting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from mtopt_core.description.parts import Form, Shape
from mtopt_core.kinematics import rotation_from_rpy


def reach(shapes: Sequence[Shape], direction: np.ndarray) -> float:
    """Return how far touching shapes extend from their owner's origin along a unit vector `(3,)` in its frame, m."""
    return max(_support(shape, direction) for shape in shapes if shape.collides)


def lowest_point(shapes: Sequence[Shape], rotation: np.ndarray) -> float:
    """Return the height, m, of the lowest point over the owner's origin when it is turned by `rotation` `(3, 3)`."""
    return -reach(shapes, -rotation[2])


def radius(shapes: Sequence[Shape], rotation: np.ndarray) -> float:
    """Return the largest horizontal reach, m, over sixteen directions."""
    angles = np.arange(16) * np.pi / 8
    return max(reach(shapes, np.cos(angle) * rotation[0] + np.sin(angle) * rotation[1]) for angle in angles)


def narrowest(shapes: Sequence[Shape], rotation: np.ndarray) -> tuple[float, float]:
    """Return across which horizontal direction, rad about the vertical, shapes are narrowest, and that width, m."""

    def width(angle: float) -> float:
        direction = np.cos(angle) * rotation[0] + np.sin(angle) * rotation[1]
        return reach(shapes, direction) + reach(shapes, -direction)

    widths = {angle: width(angle) for angle in np.arange(36) * np.pi / 36}
    best = min(widths, key=lambda angle: widths[angle])
    return float(best), widths[best]


def _support(shape: Shape, direction: np.ndarray) -> float:
    along = direction @ _rotation(shape)
    if shape.form is Form.BOX:
        extent = float(np.abs(along) @ np.array(shape.size)) / 2
    elif shape.form is Form.CYLINDER:
        width, length = shape.size
        extent = width * float(np.hypot(along[0], along[1])) + abs(float(along[2])) * length / 2
    else:
        extent = shape.size[0]
    return float(np.dot(shape.position, direction)) + extent


@cache
def _rotation(shape: Shape) -> np.ndarray:
    return rotation_from_rpy(*shape.rpy)

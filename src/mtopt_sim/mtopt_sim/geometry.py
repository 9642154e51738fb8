"""How far shapes reach in a direction, for lying, gripping and lifting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from mtopt_core.description.parts import Category, Form, Shape
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


def between_pads(shapes: Sequence[Shape], lying: np.ndarray, yaw: float) -> tuple[np.ndarray, float]:
    """Return how something is turned, `(3, 3)`, so that a hand closes on its narrow side, and that side's width, m.

    Args:
        shapes: Of it.
        lying: How it lies, `(3, 3)`; it is turned about the vertical.
        yaw: Of the hand, rad.
    """
    across, width = narrowest(shapes, lying)
    return rotation_from_rpy(0.0, 0.0, yaw - np.pi / 2 - across) @ lying, width


def mass_properties(category: Category) -> tuple[np.ndarray, np.ndarray]:
    """Return an object's centre of mass `(3,)`, m, and inertia about it `(3, 3)`, kg m2.

    Its mass is shared out equally among the shapes that touch, as MuJoCo's model has it.
    """
    shapes = [shape for shape in category.shapes if shape.collides]
    mass = category.mass / len(shapes)
    centre = np.mean([shape.position for shape in shapes], axis=0)
    inertia = np.zeros((3, 3))
    for shape in shapes:
        offset = np.array(shape.position) - centre
        turned = _rotation(shape) @ np.diag(_unit_inertia(shape)) @ _rotation(shape).T
        inertia += mass * (turned + (offset @ offset) * np.eye(3) - np.outer(offset, offset))
    return centre, inertia


def box_inertia(size: Sequence[float], mass: float) -> np.ndarray:
    """Return the inertia `(3, 3)`, kg m2, of a solid box with these edges, m, about its middle."""
    squares = np.square(size)
    return np.diag(mass / 12 * (squares.sum() - squares))


def _unit_inertia(shape: Shape) -> np.ndarray:
    """Return the inertia `(3,)` about a solid shape's own axes for 1 kg, m2."""
    if shape.form is Form.BOX:
        return np.diag(box_inertia(shape.size, 1.0))
    if shape.form is Form.CYLINDER:
        width, length = shape.size
        across = width**2 / 4 + length**2 / 12
        return np.array([across, across, width**2 / 2])
    return np.full(3, 0.4 * shape.size[0] ** 2)


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

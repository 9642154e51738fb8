"""Poses as matrices `(4, 4)`, m."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pose_of(position: Sequence[float] | np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return the pose with this position `(3,)`, m, and rotation `(3, 3)`."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def from_quaternion(w: float, x: float, y: float, z: float) -> np.ndarray:
    """Return the rotation `(3, 3)` of a unit quaternion."""
    return np.array(
        [
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
    )


def rotation_about(axis: Sequence[float] | np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation `(3, 3)` by an angle, rad, about a unit vector."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], float)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def rotation_by(vector: np.ndarray) -> np.ndarray:
    """Return the rotation `(3, 3)` about a vector `(3,)` by its length, rad."""
    angle = float(np.linalg.norm(vector))
    return rotation_about(vector / angle, angle) if angle > 0 else np.eye(3)

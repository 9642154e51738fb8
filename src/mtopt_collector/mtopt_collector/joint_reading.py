"""Reads the arm's joints and the gripper's width out of joint states, in whatever order a driver lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtopt_core.errors import MtoptError

OPEN_SHARE = 0.9


class JointStateError(MtoptError):
    """A joint state lacks a joint of the arm or is not finite."""


@dataclass(frozen=True)
class JointReading:
    """Where the arm and the gripper are.

    Attributes:
        stamp: ns.
        positions: `(J,) float64`, rad, base to tip.
        gripper_width: m between the fingers.
        gripper_closed: The fingers are closed, on an object or on nothing.
    """

    stamp: int
    positions: np.ndarray
    gripper_width: float
    gripper_closed: bool


class JointReader:
    """Picks the arm's and the finger's joints out of joint states.

    Whether the gripper is closed follows from its width, not from the last command: that stays true when this process
    is restarted, and when a scene starts with an object in the hand. It is right as long as nothing is grasped that
    takes more than `OPEN_SHARE` of the opening.

    Args:
        arm_joints: Names of the arm's joints, base to tip.
        finger_joint: Name of the finger joint; each finger moves by its position, so the width is twice that.
        finger_open: Position of the open finger joint, m.
    """

    def __init__(self, arm_joints: Sequence[str], finger_joint: str, finger_open: float) -> None:
        self._wanted = (*arm_joints, finger_joint)
        self._closed_below = OPEN_SHARE * finger_open
        self._names: tuple[str, ...] = ()
        self._indices: list[int] = []

    def read(self, stamp: int, names: Sequence[str], positions: Sequence[float]) -> JointReading:
        """Return the reading.

        Args:
            stamp: ns.
            names: Joint names as listed by the driver; more than the arm's own do not matter.
            positions: rad or m, same order as names.

        Raises:
            JointStateError: A joint is missing or a position is not finite.
        """
        if tuple(names) != self._names:
            missing = [name for name in self._wanted if name not in names]
            if missing or len(names) != len(positions):
                raise JointStateError(
                    f'the joint state lacks {", ".join(missing) or "positions"}; it lists '
                    f'{", ".join(names) or "nothing"}. One message must hold the joints of arm and gripper, '
                    'named as in the URDF'
                )
            self._names = tuple(names)
            self._indices = [self._names.index(name) for name in self._wanted]
        values = np.asarray(positions, np.float64)[self._indices]
        if not np.isfinite(values).all():
            bad = [name for name, value in zip(self._wanted, values, strict=True) if not np.isfinite(value)]
            raise JointStateError(f'the joint state is not finite for {", ".join(bad)}; check the driver')
        finger = float(values[-1])
        return JointReading(stamp, values[:-1], 2 * finger, finger < self._closed_below)

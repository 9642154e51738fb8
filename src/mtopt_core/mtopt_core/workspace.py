"""Where the gripper tip may go: a box, less what would run the fingers into a bin's wall."""

from __future__ import annotations

import numpy as np

from mtopt_core.configuration import LimitConfiguration
from mtopt_core.description.parts import Bin, CellTable

# Outer size of the open fingers from the tip, m: along the hand's x, and along y, where they open.
FINGER_REACH = (0.011, 0.055)
WALL_CLEARANCE = 0.006


class Workspace:
    """The workspace box and the walls inside it.

    Args:
        limits: The box.
        table: The bins.
    """

    def __init__(self, limits: LimitConfiguration, table: CellTable) -> None:
        self._lower, self._upper = np.array(limits.workspace_min), np.array(limits.workspace_max)
        self._bins = table.bins
        self._safe_height = max(one.wall_height for one in table.bins) + WALL_CLEARANCE

    @property
    def box_text(self) -> str:
        """The box in words, for messages."""
        return f'{self._lower.tolist()} to {self._upper.tolist()} m'

    def clip_to_box(self, position: np.ndarray) -> np.ndarray:
        """Return the nearest point `(3,)` in the box."""
        return np.clip(position, self._lower, self._upper)

    def clip(self, start: np.ndarray, target: np.ndarray, start_yaw: float, yaw: float) -> np.ndarray:
        """Return the point nearest to `target` that a straight step from `start` may end at.

        Between the walls the fingers stay between them: a step that starts or ends below the rim keeps to its bin's
        inside, and one that comes from elsewhere stays above the rim.

        Args:
            start: `(3,)` m, tip now.
            target: `(3,)` m, tip wanted.
            start_yaw: rad, now.
            yaw: rad, wanted.
        """
        target = self.clip_to_box(target)
        if min(start[2], target[2]) >= self._safe_height:
            return target
        home = next((one for one in self._bins if one.contains(start[0], start[1])), None)
        if home is None:
            return np.array([*target[:2], max(target[2], self._safe_height)])
        low, high = _inside(home, (start_yaw, yaw))
        beside = target[:2] != np.clip(target[:2], low, high)
        if start[2] >= self._safe_height and not home.contains(target[0], target[1]) and np.any(beside):
            return np.array([*target[:2], max(target[2], self._safe_height)])
        return np.array([*np.clip(target[:2], low, high), target[2]])


def _inside(home: Bin, yaws: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest x, y of the tip at which open fingers clear the walls at all these yaws."""
    along, across = FINGER_REACH
    cosine, sine = np.abs(np.cos(yaws)), np.abs(np.sin(yaws))
    reach = np.array([np.max(along * cosine + across * sine), np.max(along * sine + across * cosine)])
    half = np.array(home.inside) / 2 - reach - WALL_CLEARANCE
    return home.centre - half, home.centre + half

"""Where the gripper may go: a box, less what would run the fingers into a bin's wall, within one turn of the hand."""

from __future__ import annotations

import numpy as np

from mtopt_core.configuration import LimitConfiguration
from mtopt_core.description.parts import Bin, CellTable

# Outer size of the open fingers from the tip, m: along the hand's x, and along y, where they open.
FINGER_REACH = (0.010, 0.053)
WALL_CLEARANCE = 0.004
# The tip's path bows by some millimetres, as the joints interpolate.
RIM_CLEARANCE = 0.012
# The tip changes bins only at this height, m, and keeps within the walls of its own below it.
TRAVEL_HEIGHT = 0.22
# rad; the fingers are the same after half a turn, and beyond this joint 7 runs out of range at some places.
MAX_YAW = 2.0


class Workspace:
    """The workspace box and the walls inside it.

    Args:
        limits: The box.
        table: The bins.
    """

    def __init__(self, limits: LimitConfiguration, table: CellTable) -> None:
        self._lower, self._upper = np.array(limits.workspace_min), np.array(limits.workspace_max)
        self._bins = table.bins
        self._safe_height = max(one.wall_height for one in table.bins) + RIM_CLEARANCE

    @property
    def box_text(self) -> str:
        """The box in words, for messages."""
        return f'{self._lower.tolist()} to {self._upper.tolist()} m'

    def clip_to_box(self, position: np.ndarray) -> np.ndarray:
        """Return the nearest point `(3,)` in the box."""
        return np.clip(position, self._lower, self._upper)

    def clip(self, start: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the pose nearest to `target` that a straight step from `start` may end at.

        Below travel height the open fingers stay above their bin's inside: what an arm may touch is in a bin, and what
        is beside it is not for it to touch. A step goes below the rim only where they pass between the walls.

        Args:
            start: x, y, z of the tip and yaw now, `(4,)` m and rad.
            target: The same, wanted.
        """
        yaw = np.clip(target[3], -MAX_YAW, MAX_YAW)
        place = self.clip_to_box(target[:3])
        if min(start[2], place[2]) < TRAVEL_HEIGHT:
            place = self._within_bin(start, place, (start[3], yaw))
        return np.append(place, yaw)

    def clears_walls(self, pose: np.ndarray) -> bool:
        """Return whether the open fingers are above all rims or between a bin's walls at x, y, z and yaw, `(4,)`."""
        if pose[2] >= self._safe_height:
            return True
        bounds = (inner_bounds(one, (pose[3],)) for one in self._bins)
        return any(bool(np.all((low <= pose[:2]) & (pose[:2] <= high))) for low, high in bounds)

    def _within_bin(self, start: np.ndarray, place: np.ndarray, yaws: tuple[float, float]) -> np.ndarray:
        above_rim = np.array([0.0, 0.0, max(place[2], self._safe_height)])
        home = next((one for one in self._bins if one.contains(start[0], start[1])), None)
        if home is None:
            return np.array([*place[:2], above_rim[2]])
        low, high = inner_bounds(home, yaws)
        inner = np.array([*np.clip(place[:2], low, high), place[2]])
        above_rim[:2] = inner[:2]
        drop = start[2] - place[2]
        share = np.clip((start[2] - self._safe_height) / drop, 0.0, 1.0) if drop > 0 else 0.0
        at_rim = start[:2] + share * (inner[:2] - start[:2])
        comes_from_above = start[2] >= self._safe_height
        return above_rim if comes_from_above and np.any(at_rim != np.clip(at_rim, low, high)) else inner


def inner_bounds(home: Bin, yaws: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest x, y of the tip at which open fingers clear the walls at all these yaws."""
    along, across = FINGER_REACH
    cosine, sine = np.abs(np.cos(yaws)), np.abs(np.sin(yaws))
    reach = np.array([np.max(along * cosine + across * sine), np.max(along * sine + across * cosine)])
    half = np.array(home.inside) / 2 - reach - WALL_CLEARANCE
    return home.centre - half, home.centre + half

"""Where a gripper that knows the truth would grasp: for tests, and for data aimed on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtopt_core.description.parts import Bin, Shape
from mtopt_core.workspace import FINGER_REACH, inner_bounds
from mtopt_sim.geometry import reach

YAWS = np.linspace(-np.pi / 2, np.pi / 2, 18, endpoint=False)
FINGER_THICKNESS = 0.013
LOWEST_GRASP = 0.006
DEPTH = 0.008
SLACK = 0.003
ENOUGH_ROOM = 0.01
# How far below the top of a fold the fingers' ends close, and how far along it the grasp may be off its middle, m.
FOLD_DEPTH, FOLD_OFFSETS = 0.013, (0.0, -0.025, 0.025)


@dataclass(frozen=True)
class Body:
    """An object where it is: shapes, position `(3,)` m and rotation `(3, 3)` in the base frame."""

    shapes: Sequence[Shape]
    position: np.ndarray
    rotation: np.ndarray

    def reach(self, angle: float) -> float:
        """Return how far it extends from its position in a horizontal direction, rad about the vertical, m."""
        return reach(self.shapes, self.rotation.T @ (np.cos(angle), np.sin(angle), 0.0))


@dataclass(frozen=True)
class Grasp:
    """A straight top-down grasp.

    Attributes:
        position: `(3,)` m, tip when the fingers close.
        yaw: rad.
        room: m between the opened fingers and the nearest obstacle; negative: something is in the way.
    """

    position: np.ndarray
    yaw: float
    room: float


def best_grasp(body: Body, others: Sequence[Body], home: Bin, opening: float) -> Grasp:
    """Return the grasp of an object with the most room for the fingers, the narrowest of those with enough.

    Args:
        body: The object to grasp.
        others: Everything else that lies about.
        home: Bin it lies in.
        opening: Width between the open fingers, m.
    """

    def worth(grasp: Grasp, width: float) -> float:
        return min(grasp.room, ENOUGH_ROOM) - 0.05 * width

    tried = [_grasp(body, others, home, opening, yaw) for yaw in YAWS]
    return max(tried, key=lambda one: worth(*one))[0]


def _grasp(body: Body, others: Sequence[Body], home: Bin, opening: float, yaw: float) -> tuple[Grasp, float]:
    across = yaw - np.pi / 2
    direction = np.array([np.cos(across), np.sin(across), 0.0])
    ahead, behind = body.reach(across), body.reach(across + np.pi)
    width = ahead + behind
    centre = body.position + (ahead - behind) / 2 * direction
    position = np.clip(centre[:2], *inner_bounds(home, (yaw,)))
    shift = position - centre[:2]
    # Walls may push the open fingers off the object's middle, as long as it stays between them.
    room = (opening - width) / 2 - SLACK - abs(float(shift @ direction[:2]))
    along = float(np.linalg.norm(shift - (shift @ direction[:2]) * direction[:2]))
    room = min(room, FINGER_REACH[0] / 2 - along)
    room = min(room, _room_beside(position, direction[:2], others, opening))
    height = max(float(body.position[2]) - DEPTH, LOWEST_GRASP)
    return Grasp(np.append(position, height), float(yaw), room), width


def fold_grasp(top: np.ndarray, along: float, others: Sequence[Body], home: Bin, opening: float) -> Grasp:
    """Return the grasp across a fold of the cloth with the most room for the fingers.

    Args:
        top: Middle of the fold's top, `(3,)` m.
        along: Direction of the fold, rad about the vertical.
        others: Everything else that lies about.
        home: Bin it lies in.
        opening: Width between the open fingers, m.
    """
    yaw = float((along + np.pi / 2) % np.pi - np.pi / 2)
    direction, across = np.array([np.cos(yaw), np.sin(yaw)]), np.array([np.sin(yaw), -np.cos(yaw)])

    def at(offset: float) -> Grasp:
        middle = top[:2] + offset * direction
        position = np.clip(middle, *inner_bounds(home, (yaw,)))
        # Walls may push the open fingers off the fold, as long as it stays between them.
        room = min(opening / 2 - SLACK - abs(float((position - middle) @ across)), ENOUGH_ROOM)
        room = min(room, _room_beside(position, across, others, opening))
        return Grasp(np.append(position, max(float(top[2]) - FOLD_DEPTH, LOWEST_GRASP)), yaw, room)

    return max(map(at, FOLD_OFFSETS), key=lambda grasp: grasp.room)


def _room_beside(position: np.ndarray, direction: np.ndarray, others: Sequence[Body], opening: float) -> float:
    """Return how far the open fingers are from the nearest obstacle, m, when they open along a direction `(2,)`."""
    room = np.inf
    for side in (-1, 1):
        finger = position + side * (opening + FINGER_THICKNESS) / 2 * direction
        for other in others:
            gap = finger - other.position[:2]
            distance = float(np.hypot(*gap))
            room = min(room, distance - other.reach(float(np.arctan2(gap[1], gap[0]))) - FINGER_THICKNESS)
    return room

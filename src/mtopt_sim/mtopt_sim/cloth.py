"""The cloth in MuJoCo: how it is built, laid, held, and what lies under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mtopt_core.description.parts import Cloth, Shape, box
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_sim.grasping import Body

FREE = 7
"""Numbers of a free joint in qpos: position and quaternion."""

# rad; a fold closes until its sides lie on each other.
LARGEST_ANGLE = 3.1
LIMIT_REFERENCE, LIMIT_IMPEDANCE = (0.008, 1.0), (0.95, 0.999, 0.001, 0.5, 2.0)
# kg m^2 about a hinge: strips of a few grams would otherwise be faster than the simulator's steps.
ARMATURE = 2e-6
HALVES_SPREAD = 0.05  # rad, between each half of a hanging cloth and the vertical
PARKED = np.array([-4.0, -1.0, 1.0])


@dataclass(frozen=True)
class ClothPlacement:
    """How a cloth starts, and how it is creased.

    Attributes:
        qpos: `(7 + H,)`: position and quaternion of the first strip, angles of the H hinges, rad.
        rest: `(H,)` rad, angles at which the hinges' springs are at rest.
    """

    qpos: np.ndarray
    rest: np.ndarray


def strips_of(cloth: Cloth) -> tuple[Shape, ...]:
    """Return every strip about its own middle."""
    return tuple(box(cloth.strip, cloth.colours[index % len(cloth.colours)]) for index in range(cloth.strips))


def creased(cloth: Cloth, fold: int, slope: float) -> np.ndarray:
    """Return the slope, rad, of every strip of a cloth that lies flat but for one fold, `(S,)`.

    Args:
        cloth: The cloth.
        fold: Hinge at the top of the fold.
        slope: Of the fold's sides, rad.
    """
    slopes = np.zeros(cloth.strips)
    slopes[fold], slopes[fold + 1] = slope, -slope
    return slopes


def hanging(cloth: Cloth, fold: int) -> np.ndarray:
    """Return the slope, rad, of every strip of a cloth that hangs from a fold, `(S,)`.

    Args:
        cloth: The cloth.
        fold: Hinge at the top of the fold.
    """
    return np.where(np.arange(cloth.strips) <= fold, 1, -1) * (np.pi / 2 - HALVES_SPREAD)


def pose(cloth: Cloth, slopes: np.ndarray, hinge: int, place: np.ndarray, yaw: float) -> np.ndarray:
    """Return the `qpos` of a `ClothPlacement` whose strips have these slopes.

    Args:
        cloth: The cloth.
        slopes: `(S,)` rad, how steeply each strip rises along the cloth's x axis.
        hinge: Hinge whose middle is at `place`.
        place: `(3,)` m.
        yaw: Of the cloth's x axis about the vertical, rad.
    """
    steps = cloth.strip[0] * np.column_stack([np.cos(slopes), np.zeros_like(slopes), np.sin(slopes)])
    back = steps[: hinge + 1].sum(axis=0) - steps[0] / 2
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation_from_rpy(0.0, -slopes[0], yaw).ravel())
    return np.concatenate([place - rotation_from_rpy(0.0, 0.0, yaw) @ back, quaternion, np.diff(slopes)])


def hanging_placement(cloth: Cloth, rest: np.ndarray, top: np.ndarray, yaw: float) -> ClothPlacement:
    """Return how a cloth hangs by its fold.

    Args:
        cloth: The cloth.
        rest: As in `ClothPlacement`; the fold is where it bends most.
        top: Of the fold, `(3,)` m.
        yaw: Of the cloth's x axis about the vertical, rad.
    """
    fold = int(np.argmin(rest))
    return ClothPlacement(pose(cloth, hanging(cloth, fold), fold, top, yaw), rest)


def add_cloth(spec: mujoco.MjSpec, cloth: Cloth) -> list[mujoco.MjsGeom]:
    """Add the cloth as a chain of bodies; return its geoms, which touch nothing yet."""
    length, geoms = cloth.strip[0], []
    body = spec.worldbody.add_body(name=cloth.name)
    body.add_freejoint(name=cloth.name)
    for index, shape in enumerate(strips_of(cloth)):
        if index:
            body = body.add_body(name=f'{cloth.name}_{index}', pos=(length, 0, 0))
            hinge = body.add_joint(
                name=f'{cloth.name}_{index}', type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, -1, 0), pos=(-length / 2, 0, 0)
            )
            hinge.range, hinge.limited = (-LARGEST_ANGLE, LARGEST_ANGLE), True
            hinge.solref_limit, hinge.solimp_limit = LIMIT_REFERENCE, LIMIT_IMPEDANCE
            # A polynomial in the angle each: springs and dampers are linear.
            hinge.stiffness, hinge.damping = (cloth.stiffness, 0, 0), (cloth.damping, 0, 0)
            hinge.armature = ARMATURE
        geom = body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, size=np.array(shape.size) / 2, rgba=[*shape.colour, 1.0],
            mass=cloth.mass / cloth.strips,
        )  # fmt: skip
        geoms.append(geom)
    return geoms


class ClothState:
    """The cloth of a model, and where it is.

    Args:
        model: The compiled model.
        data: Its state.
        cloth: The cloth.

    Attributes:
        bodies: `(S,) int`, indices of the strips.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, cloth: Cloth) -> None:
        names = [cloth.name, *(f'{cloth.name}_{index}' for index in range(1, cloth.strips))]
        self.bodies = np.array([model.body(name).id for name in names])
        self._hinges = np.array([model.joint(name).id for name in names[1:]])
        start = int(model.joint(cloth.name).qposadr[0])
        self._qpos = slice(start, start + FREE + len(self._hinges))
        self._springs = slice(start + FREE, self._qpos.stop)
        self._model, self._data, self._cloth = model, data, cloth
        self._shapes = strips_of(cloth)

    def place(self, placement: ClothPlacement | None) -> None:
        """Put it there, creased; with no placement it floats, asleep, where no camera looks."""
        self._model.body_gravcomp[self.bodies] = placement is None
        if placement is None:
            flat = np.zeros(self._cloth.strips)
            placement = ClothPlacement(pose(self._cloth, flat, 0, PARKED, 0.0), np.diff(flat))
        self._data.qpos[self._qpos] = placement.qpos
        self._model.qpos_spring[self._springs] = placement.rest

    def hang(self, rest: np.ndarray, top: np.ndarray, yaw: float) -> None:
        """Hang it by its fold; `hanging_placement` explains the arguments."""
        self.place(hanging_placement(self._cloth, rest, top, yaw))

    @property
    def thickness(self) -> float:
        """Of its strips, m."""
        return self._cloth.strip[2]

    @property
    def placement(self) -> ClothPlacement:
        """Where it is now."""
        return ClothPlacement(self._data.qpos[self._qpos].copy(), self._model.qpos_spring[self._springs].copy())

    @property
    def strips(self) -> list[Body]:
        """Its strips where they are."""
        return [
            Body((shape,), self._data.xpos[index].copy(), self._data.xmat[index].reshape(3, 3).copy())
            for shape, index in zip(self._shapes, self.bodies, strict=True)
        ]

    @property
    def position(self) -> np.ndarray:
        """Its centre of mass, `(3,)` m."""
        return self._data.xpos[self.bodies].mean(axis=0)

    @property
    def fold(self) -> tuple[np.ndarray, float]:
        """Middle of its highest hinge, `(3,)` m, and that hinge's direction, rad about the vertical."""
        top = self._hinges[np.argmax(self._data.xanchor[self._hinges, 2])]
        along = self._data.xaxis[top]
        return self._data.xanchor[top].copy(), float(np.arctan2(along[1], along[0]))

    def lies_over(self, point: np.ndarray) -> bool:
        """Return whether some strip is straight above a point `(3,)`, m."""
        return covers(self.strips, point)


def covers(plates: Sequence[Body], point: np.ndarray) -> bool:
    """Return whether one of several plates, each a box that is thin along its z axis, is straight above a point."""
    return any(_is_above(plate, point) for plate in plates)


def _is_above(plate: Body, point: np.ndarray) -> bool:
    along = plate.rotation[:2, :2]
    if abs(np.linalg.det(along)) < 1e-3:  # upright
        return False
    share = np.linalg.solve(along, point[:2] - plate.position[:2])
    height = plate.position[2] + plate.rotation[2, :2] @ share
    return bool(np.all(np.abs(share) <= np.array(plate.shapes[0].size[:2]) / 2) and height > point[2])

"""The cloth in Gazebo: creased by commands to its hinges, and seen as strips.

SDF knows neither a position that a joint starts at nor springs that a scene can set, so the hinges are drawn to their
angles by joint commands: hard while the cloth waits out of sight and takes its shape, then as softly as its springs do.
"""

from __future__ import annotations

import numpy as np

from mtopt_core.description.parts import Cloth
from mtopt_sim.cloth import strips_of
from mtopt_sim.gazebo.joint_commands import Gain
from mtopt_sim.gazebo.models import hinge_names, strip_names
from mtopt_sim.gazebo.simulation import Simulation
from mtopt_sim.grasping import Body

SHAPING_STIFFNESS = 0.15
"""N m/rad: many times what bends a hanging cloth; harder, a strip would be faster than the physics' steps."""


class ClothHinges:
    """Hinges of one cloth, in whichever simulation it lies.

    Args:
        cloth: The cloth.

    Attributes:
        cloth: The cloth.
        name: Of its model.
        links: Names of its strips, as `model::link`.
    """

    def __init__(self, cloth: Cloth) -> None:
        self.cloth = cloth
        self._hinges = hinge_names(cloth)
        self.name = cloth.name
        self.links = [f'{cloth.name}::{strip}' for strip in strip_names(cloth)]
        self._shapes = strips_of(cloth)

    def shape(self, simulation: Simulation, angles: np.ndarray | float) -> None:
        """Draw the hinges hard to these angles `(H,)`, or all to one, rad."""
        self._draw(simulation, angles, SHAPING_STIFFNESS)

    def relax(self, simulation: Simulation, rest: np.ndarray) -> None:
        """Leave the hinges to their springs, which are at rest at these angles `(H,)`, rad."""
        self._draw(simulation, rest, self.cloth.stiffness)

    def strips(self, simulation: Simulation, model: np.ndarray) -> list[Body]:
        """Return the strips where they are; `model` is the cloth's pose `(4, 4)`."""
        bodies = []
        for number, (link, shape) in enumerate(zip(self.links, self._shapes, strict=True)):
            told = simulation.pose(link)
            pose = model @ told if told is not None else model.copy()
            if told is None:
                pose[:3, 3] += number * self.cloth.strip[0] * model[:3, 0]
            bodies.append(Body((shape,), pose[:3, 3], pose[:3, :3]))
        return bodies

    def fold(self, strips: list[Body]) -> tuple[np.ndarray, float]:
        """Return the middle of the highest hinge, `(3,)` m, and its direction, rad about the vertical."""
        half = self.cloth.strip[0] / 2
        middles = [strip.position - half * strip.rotation[:, 0] for strip in strips[1:]]
        top = int(np.argmax([middle[2] for middle in middles]))
        along = -strips[top + 1].rotation[:, 1]
        return middles[top], float(np.arctan2(along[1], along[0]))

    def _draw(self, simulation: Simulation, angles: np.ndarray | float, stiffness: float) -> None:
        wanted = np.broadcast_to(angles, len(self._hinges)).tolist()
        targets = dict(zip(self._hinges, wanted, strict=True))
        simulation.command(targets, dict.fromkeys(targets, Gain(stiffness)), self.cloth.name)

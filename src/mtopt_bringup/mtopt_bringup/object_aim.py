"""What an aimed script is told: where to grasp, or where to let go of a cloth. The simulator knows, no camera does."""

from __future__ import annotations

import numpy as np

from mtopt_core.description.cell_table import RIGHT_BIN
from mtopt_core.tasks import TaskSet
from mtopt_policy.scripted import Target
from mtopt_sim.cell import Cell

TURN_PER_METRE = 20.0
"""Error of an aimed yaw per error of the position, rad/m: 0.1 rad beside 5 mm."""

COVERING_HEIGHT = 0.03
"""Of the tip above the object where the cloth is let go, m: low enough for its halves to hang on both sides."""

COVER = 'cover'


class ObjectAim:
    """Tells the scripted policy what to go for: the best grasp of an object of the scene, with an error.

    Not what a camera sees but what the simulator knows, so a teacher better than the paper's crude script. When
    covering, it is the middle of an object; when placing, nothing is told.

    Args:
        cell: Where the objects are.
        tasks: Which object a task is about.
        error: Standard deviation of the position in each direction, m.
    """

    def __init__(self, cell: Cell, tasks: TaskSet, error: float) -> None:
        self._cell = cell
        self._tasks = tasks
        self._error = error

    def __call__(self, task: str, rng: np.random.Generator) -> Target | None:
        """Return a grasp of the task's object, else of one in the right bin, with room for the fingers if any has."""
        home, wanted = self._cell.table.bin(RIGHT_BIN), self._tasks[task]
        positions = self._cell.object_positions()
        there = [name for name, position in positions.items() if home.contains(*position[:2])]
        if wanted.skill == COVER:
            return self._above([name for name in there if name != wanted.object], rng)
        if not there or self._cell.gripper_closed:
            return None
        grasps = [self._cell.grasp(name) for name in ([wanted.object] if wanted.object in there else there)]
        free = [grasp for grasp in grasps if grasp.room > 0] or grasps
        grasp = free[rng.integers(len(free))]
        return Target(
            grasp.position + rng.normal(0.0, self._error, 3),
            grasp.yaw + rng.normal(0.0, TURN_PER_METRE * self._error),
        )

    def _above(self, names: list[str], rng: np.random.Generator) -> Target | None:
        """Return where to let go of what is in the hand to cover one of several objects."""
        if not names:
            return None
        name = names[rng.integers(len(names))]
        place = np.append(self._cell.object_positions()[name][:2], self._cell.top(name) + COVERING_HEIGHT)
        return Target(place + rng.normal(0.0, self._error, 3), self._cell.yaw)

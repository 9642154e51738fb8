"""Both simulators, each started once a module: a server that only waits takes a third of a core.

These tests need Gazebo 11: `make gazebo` prepares it and runs them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Action
from mtopt_core.step_planner import StepPlanner
from mtopt_core.workspace import TRAVEL_HEIGHT
from mtopt_sim.cell import Cell
from mtopt_sim.simulators import new_cell

SIZE = 64


@pytest.fixture(scope='module')
def gazebo() -> Iterator[Cell]:
    """The cell in Gazebo."""
    cell = new_cell('gazebo', SIZE)
    yield cell
    cell.close()


@pytest.fixture(scope='module')
def mujoco() -> Iterator[Cell]:
    """The cell in MuJoCo."""
    cell = new_cell('mujoco', SIZE)
    yield cell
    cell.close()


@pytest.fixture(params=['mujoco', 'gazebo'])
def cell(request: pytest.FixtureRequest) -> Cell:
    """Each in turn: what a test says holds for both."""
    return request.getfixturevalue(request.param)


class Hand:
    """Moves a cell's arm by steps, as the arm controller does."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._planner = StepPlanner(cell.kinematics, CellConfiguration())

    def act(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, **choices: bool) -> None:
        """Carry out one step."""
        action = Action(np.array([x, y, z]), yaw, **choices)
        planned = self._planner.plan(self.cell.joint_positions, action, self.cell.gripper_closed)
        self.cell.run(planned.arm, planned.gripper)

    def go(self, place: np.ndarray, yaw: float | None = None) -> None:
        """Move the tip to a place, from above, where it may change bins."""
        for low in (False, True):
            goal = np.array(place, float)
            goal[2] = goal[2] if low else max(TRAVEL_HEIGHT + 0.02, goal[2])
            for _ in range(14):
                left = goal - self.cell.tip_position
                turn = 0.0 if yaw is None else yaw - self.cell.yaw
                if np.abs(left).max() < 3e-3 and abs(turn) < 0.02:
                    break
                self.act(*np.clip(left, -0.05, 0.1) if low else left, yaw=turn)


@pytest.fixture
def hand(cell: Cell) -> Hand:
    """Of the cell that is tested."""
    return Hand(cell)

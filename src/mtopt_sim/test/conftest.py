from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Action
from mtopt_core.step_planner import StepPlanner
from mtopt_sim.cell import Cell

Act = Callable[..., None]


@pytest.fixture(scope='session')
def cell() -> Cell:
    """One cell for all tests: a reset forgets everything, which a test checks."""
    return Cell(image_size=64)


@pytest.fixture
def act(cell: Cell) -> Act:
    """Carry out one step as the arm controller would."""
    planner = StepPlanner(cell.kinematics, CellConfiguration())

    def carry_out(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, **choices: bool) -> None:
        action = Action(np.array([x, y, z]), yaw, **choices)
        planned = planner.plan(cell.joint_positions, action, cell.gripper_closed)
        cell.run(planned.arm, planned.gripper)

    return carry_out


@pytest.fixture
def go(cell: Cell, act: Act) -> Act:
    """Move the tip to a place by steps, down last."""

    def travel(place: np.ndarray, yaw: float | None = None) -> None:
        for low in (False, True):
            goal = np.array(place, float)
            goal[2] = goal[2] if low else max(0.2, goal[2])
            for _ in range(14):
                left = goal - cell.tip_position
                turn = 0.0 if yaw is None else yaw - cell.yaw
                if np.abs(left).max() < 3e-3 and abs(turn) < 0.02:
                    break
                # Slow on the way down, so that the tip's path hardly bows.
                act(*np.clip(left, -0.05, 0.1) if low else left, yaw=turn)

    return travel

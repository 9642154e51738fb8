"""The cloth, and the cell that has one: a table of its own, so that the cell without is what it always was."""

from __future__ import annotations

from dataclasses import replace

from mtopt_core.description.cell_table import CELL
from mtopt_core.description.parts import CellTable, Cloth
from mtopt_core.tasks import TaskSet

LIME = (0.62, 0.86, 0.12)
CREAM = (0.97, 0.95, 0.86)

CLOTH = Cloth(
    name='cloth',
    strips=7,
    strip=(0.025, 0.11, 0.003),
    mass=0.06,
    colours=(LIME, CREAM),
    folds=(2, 3),
    slope=(0.75, 1.0),
    stiffness=0.012,
    damping=0.0012,
)

CELL_WITH_CLOTH = replace(CELL, cloth=CLOTH)


def table_for(tasks: TaskSet) -> CellTable:
    """Return the cell these tasks need: the one with a cloth where one of them is about it."""
    return CELL_WITH_CLOTH if any(task.object == CLOTH.name for task in tasks.tasks) else CELL

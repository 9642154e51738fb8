"""The simulators a cell can run on, by name; what they need is imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL
from mtopt_core.description.parts import CellTable

if TYPE_CHECKING:
    from mtopt_sim.cell import Cell
    from mtopt_sim.scene import Objects

SimulatorName = Literal['mujoco', 'gazebo']
IMAGE_PERIOD = 0.5
"""s between two images of a camera of Gazebo: the length of a step, so that nothing is rendered in vain."""


def new_cell(
    simulator: SimulatorName,
    image_size: int,
    cameras: Iterable[str] = CAMERAS,
    objects: Objects = None,
    table: CellTable = CELL,
    looks: float = 1.0,
) -> Cell:
    """Return a cell on a simulator; `Cell` explains the other arguments.

    Args:
        simulator: Its name.
        image_size: Side of the square images, px.
        cameras: Cameras that are shown; Gazebo renders no others.
        objects: What lies in a scene.
        table: The cell.
        looks: How much light, colours and cameras vary: 1 as usual, 0 not at all.

    Raises:
        SimulationError: The simulator is not installed or does not start.
    """
    from mtopt_sim.cell import Cell

    shown = tuple(cameras)
    if simulator == 'mujoco':
        return Cell(image_size, shown, objects, table, looks=looks)
    from mtopt_sim.gazebo.gazebo_plant import GazeboPlant

    plant = GazeboPlant(table, image_size, shown)
    try:
        return Cell(image_size, shown, objects, table, plant, looks)
    except BaseException:
        plant.close()
        raise

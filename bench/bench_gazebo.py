"""How many control steps per second does the cell make in Gazebo 11, beside MuJoCo, with small and large cameras?

A step is half a simulated second of moving the arm to and fro over the bin; at its end every camera is looked through.
So two steps per second are real time. Gazebo is server and bridge; nothing of the graph runs (`bench_graph.py --sim`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Annotated, get_args

import numpy as np
import typer
from measuring import alternate, load, rates_table
from rich.console import Console

from mtopt_core.configuration import MAIN, SIDE_LEFT, SIDE_RIGHT
from mtopt_core.description.cell_table import RIGHT_BIN
from mtopt_core.environment import prepare
from mtopt_core.trajectory import Trajectory
from mtopt_sim.cell import Cell
from mtopt_sim.simulators import SimulatorName, new_cell

STEP = 0.5  # s of simulated time
SWING = 0.1  # rad of the first joint
WANTED = 2.0  # times real time, of Gazebo with three large cameras
VIEWS: dict[str, tuple[int, tuple[str, ...]]] = {
    'one camera of 128 px': (128, (MAIN,)),
    'three cameras of 472 px': (472, (MAIN, SIDE_LEFT, SIDE_RIGHT)),
}


def swing(cell: Cell, steps: int) -> None:
    """Move the arm to and fro, and look through the cell's cameras after every step."""
    for number in range(steps):
        target = cell.joint_positions
        target[0] += SWING * (-1) ** number
        cell.run(Trajectory.at_rest([STEP], target[None]), Trajectory.at_rest([STEP], np.zeros((1, 1))))
        for camera in cell.cameras:
            cell.render(camera)


def main(
    steps: Annotated[int, typer.Option(min=2, help='Of each round.')] = 40,
    rounds: Annotated[int, typer.Option(min=1, help='Of each simulator, in turn.')] = 5,
) -> None:
    """Print one table for each set of cameras."""
    prepare()
    for title, (size, cameras) in VIEWS.items():
        with ExitStack() as stack:
            contenders: dict[str, Callable[[], object]] = {}
            for name in reversed(get_args(SimulatorName)):
                cell = stack.enter_context(closing(new_cell(name, size, cameras)))
                cell.reset(0, RIGHT_BIN)
                contenders[name] = partial(swing, cell, steps)
            seconds = alternate(contenders, rounds, title)
        Console().print(rates_table(title, 'steps/s', steps, seconds))
        for name, measured in seconds.items():
            real_time = steps * STEP / np.array(measured)
            print(f'{name}: {np.median(real_time):.2f} x real time ({real_time.min():.2f} to {real_time.max():.2f})')
    print(f'wanted: Gazebo at {WANTED:.1f} x real time or more with three cameras of 472 px')
    print(load())


if __name__ == '__main__':
    typer.run(main)

"""`mtopt picture`: what the four cameras of the simulated cell see."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL, LEFT_BIN
from mtopt_core.images import crop_resize, write_picture
from mtopt_sim.simulators import SimulatorName, new_cell

# Rendered this many times larger and averaged down, which smooths the edges.
OVERSAMPLING = 3


def picture(
    out: Annotated[Path, typer.Argument(help='image file to write, .png or .jpg')],
    size: Annotated[int, typer.Option(help='side of each of the four views, px', min=16, max=682)] = 400,
    seed: Annotated[int, typer.Option(help='of the scene', min=0)] = 3,
    sim: Annotated[SimulatorName, typer.Option(help='what simulates the cell')] = 'mujoco',
) -> None:
    """Draw a scene of the simulated cell as its four cameras see it.

    Main and wrist above, the two side cameras below; all nine categories, one of them in the hand.

    Example: `mtopt picture docs/cell.png --seed 7`
    """
    everything = [category.name for category in CELL.categories]
    with closing(new_cell(sim, OVERSAMPLING * size, objects=everything)) as cell:
        cell.reset(seed, LEFT_BIN, holding=True)
        main, wrist, left, right = (crop_resize(cell.render(camera), size) for camera in CAMERAS)
    sheet = np.vstack([np.hstack([main, wrist]), np.hstack([left, right])])
    write_picture(out, sheet)
    typer.echo(f'{out}: {sheet.shape[1]} x {sheet.shape[0]} px, scene {seed} in {sim}')

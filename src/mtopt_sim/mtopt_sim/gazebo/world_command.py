"""`mtopt world`: the worlds of Gazebo 11 from the description table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtopt_core.description.cell_table import CELL
from mtopt_core.description.cloth_table import CELL_WITH_CLOTH
from mtopt_core.paths import shipped
from mtopt_sim.errors import SimulationError
from mtopt_sim.gazebo.harmonic import harmonic_files
from mtopt_sim.gazebo.world import IMAGE_SIZE, world_files, write_files
from mtopt_sim.simulators import IMAGE_PERIOD


def shipped_files(image_size: int, period: float) -> dict[str, str]:
    """Return everything in `worlds/`, by its path there; `world_files` explains the arguments."""
    with_cloth = world_files(CELL_WITH_CLOTH, image_size, period)
    return world_files(CELL, image_size, period) | with_cloth | harmonic_files(CELL, image_size)


def world(
    out: Annotated[
        Path | None, typer.Argument(help='Folder for worlds and models; none: the shipped `worlds/`.')
    ] = None,
    image_size: Annotated[int, typer.Option(help='Side of the square images, px.', min=16, max=1024)] = IMAGE_SIZE,
    period: Annotated[float, typer.Option(help='Between two images of a camera, s.', min=0.02)] = IMAGE_PERIOD,
) -> None:
    """Write the cell as worlds of Gazebo: of Gazebo 11, without and with its cloth, and of Harmonic.

    `mtopt` itself writes one for every server it starts; these are for people:
    `GAZEBO_MODEL_PATH=worlds/models gazebo worlds/two_bins.world`.
    """
    folder = out or shipped('worlds')
    files = shipped_files(image_size, period)
    try:
        write_files(folder, files)
    except OSError as error:
        raise SimulationError(f'the world cannot be written to {folder}: {error.strerror}') from None
    typer.echo(f'{folder}: {len(files)} files, cameras of {image_size} px, an image every {period:g} s')

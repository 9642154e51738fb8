"""Options that several commands have, so that they are called and explained alike."""

from __future__ import annotations

from typing import Annotated

import typer

TasksFile = Annotated[
    str,
    typer.Option(
        '--tasks-file',
        help='All tasks there are: a task file, or the name of one of those in `config/`. ./NAME is a file here.',
    ),
]

Looks = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=4.0,
        help='How much light, colours and cameras vary from scene to scene: 0 not at all, 1 as usual, 2 twice as much. '
        'Where everything lies does not depend on it.',
    ),
]

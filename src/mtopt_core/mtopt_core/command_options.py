"""Options that several commands have, so that they are called and explained alike."""

from __future__ import annotations

from typing import Annotated

import typer

TasksFile = Annotated[
    str,
    typer.Option('--tasks-file', help='All tasks there are: a task file, or the name of one of those in `config/`.'),
]

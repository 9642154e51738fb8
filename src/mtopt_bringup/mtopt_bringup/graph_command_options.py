"""Options that `mtopt run` and `mtopt fleet` have in common, so that they are called and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mtopt_bringup.cells import PolicyName
from mtopt_bringup.graph import Simulator

Data = Annotated[Path, typer.Option(help='Data folder: bags, labels, catalogue, cadence, models.')]

Sim = Annotated[
    Simulator,
    typer.Option(help='What stands in for a robot; elsewhere: a simulator that runs already; none: a real one.'),
]

Episodes = Annotated[
    int,
    typer.Option(
        min=-1,
        help='For each robot to collect; -1: until Ctrl-C, 0: only on request. Where no robot can go on without a '
        'person and there is no --help-command, a command with a number ends with the reason.',
    ),
]

Policy = Annotated[
    PolicyName,
    typer.Option(help='Who decides; a mixture is drawn per episode, a curriculum also chooses the task.'),
]

Models = Annotated[
    Path | None,
    typer.Option(help='Folder of checkpoints, `policy` and `success_detector`. DATA/models by default.'),
]

GradeWith = Annotated[
    Literal['detector', 'simulator', 'none'],
    typer.Option(
        help='Who grades the final images: the newest detector of --models, without which nothing is graded; the '
        "simulator's truth can stand in for a detector to come."
    ),
]

Robots = Annotated[int, typer.Option(min=1, max=100, help='Number of robots, robot1 to robotN.')]

Seed = Annotated[int, typer.Option(min=-1, help='Of tasks, scenes and policies; -1 draws one.')]

ImageSize = Annotated[int, typer.Option(min=16, help="Side of the simulated cameras' images, px.")]

NewScenes = Annotated[
    Literal['simulator', 'robot', 'person'] | None,
    typer.Option(help='Who makes new scenes; by default a simulator, of a real cell the robot by its own skills.'),
]

Spares = Annotated[
    bool, typer.Option(help='Keep a second policy and detector ready to take the place of one that dies.')
]

HelpCommand = Annotated[
    str,
    typer.Option(
        help='Run when a robot calls for a person; MTOPT_ROBOT and MTOPT_MESSAGE in its environment say which and why.'
    ),
]

CellFile = Annotated[str, typer.Option(help="The cell's configuration; config/cell.yaml by default.")]

TasksFile = Annotated[str, typer.Option(help='The task set; config/tasks.yaml by default.')]

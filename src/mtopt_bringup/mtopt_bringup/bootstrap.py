"""`mtopt bootstrap`: a dataset made as the paper's was, by crude scripts first, then by ever better policies."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from mtopt_bringup.stages import Stage, State, carry_out
from mtopt_bringup.task_mixture import IMBALANCED, UNIFORM
from mtopt_core.command_options import TasksFile
from mtopt_core.tasks import TASKS_FILE

Setting = Literal['eased', 'full']

AIM = 0.005
"""Error of the aim of the script, m: with the noise of its moves it succeeds in half of its lifts."""

EXPLORATION = 0.1
"""Share of random moves while learned policies collect."""

SEEDS_PER_BOOTSTRAP = 1000
"""Every round is a series of its own; bootstraps of different seeds share none."""


@dataclass(frozen=True)
class Size:
    """How much of everything there is in a bootstrap.

    Attributes:
        scripted: Scripted episodes, the start of everything.
        rounds: Rounds of training and collecting with what was learned.
        episodes: Learned episodes per round.
        steps: Gradient steps per round.
    """

    scripted: int = 8000
    rounds: int = 6
    episodes: int = 1500
    steps: int = 1500


USUAL = Size()


@dataclass(frozen=True)
class Plan:
    """One bootstrap.

    Attributes:
        out: Folder of data and models.
        size: How much of everything.
        seed: Of everything random.
        workers: Simulation processes; 0 for one per core.
        threads: CPU threads of training; 0 for all.
        setting: Action space.
        tasks_file: All tasks there are.
        tasks: Those that are tried: a mixture, as `mtopt simulate` takes it.
    """

    out: Path
    size: Size = USUAL
    seed: int = 0
    workers: int = 0
    threads: int = 0
    setting: Setting = 'eased'
    tasks_file: str = TASKS_FILE
    tasks: str = IMBALANCED

    @property
    def command(self) -> str:
        """The command that makes the same data anywhere."""
        size = self.size
        sizes = f'--scripted {size.scripted} --rounds {size.rounds} --episodes {size.episodes} --steps {size.steps}'
        setting = '' if self.setting == 'eased' else f' --setting {self.setting}'
        tasks_file = '' if self.tasks_file == TASKS_FILE else f' --tasks-file {self.tasks_file}'
        tasks = '' if self.tasks == IMBALANCED else f' --tasks {self.tasks}'
        return f'mtopt bootstrap {sizes} --seed {self.seed}{setting}{tasks_file}{tasks}'


def bootstrap(
    out: Annotated[Path, typer.Option(help='Folder of data and models.')],
    scripted: Annotated[int, typer.Option(min=1, help='Scripted episodes, the start of everything.')] = USUAL.scripted,
    rounds: Annotated[int, typer.Option(min=0, help='Rounds of training and collecting.')] = USUAL.rounds,
    episodes: Annotated[
        int, typer.Option(min=1, help='Episodes of the learned policy in each round.')
    ] = USUAL.episodes,
    steps: Annotated[int, typer.Option(min=1, help='Gradient steps in each round.')] = USUAL.steps,
    seed: Annotated[int, typer.Option(min=0, help='Of everything random.')] = 0,
    workers: Annotated[int, typer.Option(min=0, help='Simulation processes; 0 takes one per core.')] = 0,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of training; 0 takes all cores.')] = 0,
    setting: Annotated[
        Setting, typer.Option(help="Action space: eased learns in an hour, full is the paper's.")
    ] = 'eased',
    tasks_file: TasksFile = TASKS_FILE,
    tasks: Annotated[
        str, typer.Option(help='imbalanced (mostly lift-any and place-any), uniform, or names separated by commas.')
    ] = IMBALANCED,
) -> None:
    """Make a dataset from nothing: scripted episodes, then rounds of learning and collecting with what was learned.

    Tasks are drawn as unevenly as the paper's: mostly the two broad ones. The simulator's truth stands in for the
    success detector. Ctrl-C stops; the same command goes on from there.
    """
    plan = Plan(out, Size(scripted, rounds, episodes, steps), seed, workers, threads, setting, tasks_file, tasks)
    console = Console()
    path = out / 'bootstrap.json'
    started = time.monotonic()
    carry_out(stages_of(plan), State.load(path), path, f'mtopt bootstrap --out {out}', console)
    console.rule(align='left')
    console.print(f'{time.monotonic() - started:.0f} s; {scripted + rounds * episodes} episodes in [bold]{out}[/]')


def stages_of(plan: Plan) -> list[Stage]:
    """Return the stages of a bootstrap: scripted episodes, then training and collecting in turn."""
    models = plan.out / 'models'

    def simulate(round_number: int, number: int, *options: str) -> list[str]:
        series = plan.seed * SEEDS_PER_BOOTSTRAP + round_number
        return [
            *('simulate', '--out', str(plan.out), '--tasks', plan.tasks, '--workers', str(plan.workers)),
            *('--tasks-file', plan.tasks_file),
            *('--seed', str(series), '--episodes', str(number), '--setting', plan.setting, *options),
        ]

    def train(round_number: int) -> list[str]:
        return [
            *('train', '--bags', str(plan.out), '--out', str(models), '--outcomes', 'simulator'),
            *('--steps', str(plan.size.steps * round_number), '--threads', str(plan.threads)),
            *('--set', f'seed={plan.seed}', '--setting', plan.setting, '--tasks-file', plan.tasks_file),
            *(() if plan.tasks in (UNIFORM, IMBALANCED) else ('--tasks', plan.tasks)),
        ]

    learned = ('--policy', 'learned', '--checkpoint', str(models / 'policy'), '--exploration', str(EXPLORATION))
    scripted = partial(simulate, 0, plan.size.scripted, '--aim', str(AIM))
    stages = [Stage('scripted', 'Collect with scripts', scripted, fixed=True)]
    for number in range(1, plan.size.rounds + 1):
        stages += [
            Stage(f'train-{number}', f'Round {number}: learn from all of it', partial(train, number), fixed=True),
            Stage(
                f'collect-{number}',
                f'Round {number}: collect with what was learned',
                partial(simulate, number, plan.size.episodes, *learned),
                fixed=True,
            ),
        ]
    return stages

"""`mtopt train`."""

from __future__ import annotations

import signal
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from mtopt_core.command_options import TasksFile
from mtopt_core.configuration import load_cell
from mtopt_core.label_store import DEFAULT_SOURCES
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import TASKS_FILE, load_tasks
from mtopt_policy.learner.display import Display, print_data, print_measured
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.training import Training, TrainingOptions


class Setting(StrEnum):
    """Action spaces."""

    EASED = 'eased'
    FULL = 'full'


def train(
    bags: Annotated[Path, typer.Option(help='Folder of collected data (the one that holds `bags/`).')],
    out: Annotated[Path, typer.Option(help='Folder for policies and curves; a training found there is gone on with.')],
    steps: Annotated[int, typer.Option(min=1, help='Gradient steps, those made before included.')],
    preset: Annotated[str, typer.Option(help='Trainer preset: small, paper, or a YAML file like theirs.')] = 'small',
    setting: Annotated[
        Setting, typer.Option(help="Action space: eased learns in minutes, full is the paper's.")
    ] = Setting.EASED,
    impersonation: Annotated[
        Impersonation,
        typer.Option(
            help='Which tasks an episode trains: its own (none), all, those of its skill, its own and those of its '
            'skill that it solves (successes), its own and those whose Q-function gains from it (gain).'
        ),
    ] = Impersonation.SKILL,
    tasks: Annotated[str, typer.Option(help='Learn these tasks only, as in lift-any,place-any.')] = '',
    outcomes: Annotated[
        str, typer.Option(help='Whose outcomes count, the first that has one: human, detector, simulator.')
    ] = ','.join(DEFAULT_SOURCES),
    tasks_file: TasksFile = TASKS_FILE,
    start: Annotated[
        Path | None,
        typer.Option(
            '--from',
            help='Policy to start from: a checkpoint, or a folder of them. Where the task file adds tasks after the '
            'ones it knows, it grows.',
        ),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option('--set', help='Change a value of the preset: --set targets.discount=0.75')
    ] = None,
    follow: Annotated[
        bool, typer.Option(help='Take in bags and outcomes that arrive meanwhile; without, a run can be repeated.')
    ] = True,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads for torch; 0 takes all cores.')] = 0,
) -> None:
    """Turn a folder of bags into a policy.

    Reads new bags, impersonates and re-balances the episodes, and trains the Q-function. Policies are exported into
    OUT/policy while it runs; Ctrl-C stops after exporting. Watch the curves with `tensorboard --logdir OUT`.
    """
    if threads:
        torch.set_num_threads(threads)
    console = Console()
    training = Training(
        TrainingOptions(
            data=DataFolder(bags),
            out=out,
            tasks=load_tasks(tasks_file),
            cell=load_cell(),
            preset=preset,
            overrides=tuple(change or ()),
            setting=setting.value,
            impersonation=impersonation,
            learn=tuple(filter(None, tasks.split(','))),
            sources=tuple(outcomes.split(',')),
            start=start,
            follow=follow,
        )
    )
    with progress_bar('reading bags') as progress:
        training.read(progress)
    print_data(training, console)
    training.require_data()
    if training.step:
        console.print(f'going on from step {training.step}')
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Display(training, steps, console) as display:
        training.run(steps, stop, display)
    print_measured(training, console)

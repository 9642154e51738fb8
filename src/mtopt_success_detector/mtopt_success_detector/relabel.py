"""Grade every episode of a folder again, with another detector or for tasks that came later."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from mtopt_core.checkpoint import find_checkpoint
from mtopt_core.command_options import TasksFile
from mtopt_core.errors import CheckpointError
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import TASKS_FILE, load_tasks
from mtopt_success_detector.dataset import read_final_images
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.relabelling import relabel as relabel_episodes


def relabel(
    bags: Annotated[Path, typer.Option(help='Data folder; its bags lie in `bags`.', exists=True, file_okay=False)],
    detector: Annotated[
        str,
        typer.Option(
            help='A checkpoint, a folder of checkpoints, then the newest one, or the version of one in '
            '`models/success_detector` of the data folder.'
        ),
    ],
    tasks: Annotated[str, typer.Option(help='Only these tasks, separated by commas.')] = '',
    tasks_file: TasksFile = TASKS_FILE,
) -> None:
    """Grade every episode of a folder for every task; only the label store changes.

    Final images are read from the bags once and kept, so that a second detector decodes none. The same command goes on
    where it was stopped. Of several versions' verdicts the newest version's count, and a person's always.
    """
    known, data = load_tasks(tasks_file), DataFolder(bags)
    workers = os.cpu_count() or 1
    torch.set_num_threads(1)
    grader = Grader.load(_found(detector, data), known, workers)
    names = [known[name.strip()].name for name in tasks.split(',')] if tasks else list(known.names)
    started = time.monotonic()
    with progress_bar('Reading new bags') as report:
        rows, final_images = read_final_images(data, grader.manifest.network, report)
    read = time.monotonic()
    with progress_bar('Grading') as report:
        ids = [row.episode_id for row in rows]
        done = relabel_episodes(data, grader, final_images, ids, names, workers, report)
    graded = time.monotonic() - read
    print(
        f'{done.graded} episodes graded for {len(names)} tasks by detector {grader.manifest.version}, '
        f'{done.unsure:.1%} of the verdicts unsure'
        + (f'; {done.before} were graded by it before' if done.before else '')
    )
    if done.graded:
        print(
            f'{read - started:.1f} s to read new images, {graded:.1f} s to grade: {done.graded / graded:.0f} episodes/s'
        )


def _found(detector: str, data: DataFolder) -> Path:
    """Return the checkpoint that is meant.

    Raises:
        CheckpointError: There is none.
    """
    places = (Path(detector), data.root / 'models' / 'success_detector' / detector)
    for place in places:
        if place.exists():
            return find_checkpoint(place)
    raise CheckpointError(f'no detector {detector}: neither {places[0]} nor {places[1]} exists')

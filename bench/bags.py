"""Episodes to benchmark the learner with."""

from __future__ import annotations

import os
import shutil
from itertools import islice
from pathlib import Path

from mtopt_bringup.episode_workers import Workplace, run_jobs
from mtopt_bringup.simulate import Series
from mtopt_bringup.task_mixture import IMBALANCED, TaskMixture
from mtopt_core.configuration import load_cell
from mtopt_core.episode_bag import episode_ids, read_outcomes
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import load_tasks

AIM = 0.01
"""Error of the scripted policy's aim, m, so that every task has successes."""


def fill(root: Path, given: Path | None, episodes: int, image_size: int) -> DataFolder:
    """Make a data folder to learn from: what a benchmark does to it, it does to no one's data.

    Args:
        root: The folder, empty so far.
        given: A data folder to copy the first bags of; without one they are simulated.
        episodes: How many.
        image_size: Side of simulated images, px.
    """
    data = DataFolder(root)
    if given is None:
        _simulate(data, episodes, image_size)
    else:
        for name in islice(episode_ids(DataFolder(given).bags), episodes):
            shutil.copytree(DataFolder(given).bags / name, data.bags / name)
    store = LabelStore(data)
    gradings = {name: read_outcomes(data.bags / name) for name in episode_ids(data.bags)}
    store.add_many(SIMULATOR, '', {name: found[0].outcomes for name, found in gradings.items() if found})
    store.close()
    return data


def _simulate(data: DataFolder, episodes: int, image_size: int) -> None:
    tasks = load_tasks()
    series = Series('scripted', 0, TaskMixture.parse(IMBALANCED, tasks))
    workplace = Workplace(load_cell(), tasks, image_size, aim=AIM, bags=data.bags)
    with progress_bar('simulating') as report:
        for number, _ in enumerate(run_jobs(workplace, map(series.job, range(episodes)), os.cpu_count() or 1), 1):
            report(number, episodes)

"""How well does a detector that learned from MuJoCo's pictures judge Gazebo's?

The same scripts on the same seeds in both; judged by the truth of each simulator. It goes on where it was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from bench_detector import known, measure_on
from bench_sim_to_sim import SIMULATORS
from detector_data import KNOWN, fill
from labelling import Pool
from measuring import load
from rich.console import Console
from rich.table import Table

from mtopt_core.checkpoint import find_checkpoint, load_manifest
from mtopt_core.environment import prepare
from mtopt_core.progress import progress_bar
from mtopt_success_detector.manifest import DetectorManifest

SEED = 5
"""Apart from those of the episodes that detectors are trained on."""
FIGURES = {
    'auc': 'AUC',
    'balanced_accuracy': 'balanced accuracy',
    'false_positive_rate': 'false positives',
    'unsure': 'unsure',
}


def main(
    folder: Annotated[Path, typer.Argument(help='Folder for the episodes.')],
    checkpoint: Annotated[Path, typer.Option(help='The detector, or a folder of them: the newest.')],
    episodes: Annotated[int, typer.Option(min=1, help='Of each simulator.')] = 400,
) -> None:
    """Print the figures of every task in both simulators, and their means by skill side by side."""
    prepare()
    path = find_checkpoint(checkpoint)
    looks = load_manifest(path, DetectorManifest).network.looks
    table = Table(
        'skill', 'simulator', *FIGURES.values(), title=f'{path.name}, {episodes} episodes, means of the tasks'
    )
    measured = {}
    for simulator in SIMULATORS:
        with progress_bar(simulator) as report:
            fill(folder / simulator, simulator, episodes, SEED, simulator=simulator, report=report)
        measured[simulator] = measure_on(path, Pool(folder / simulator, looks), KNOWN, simulator)
    for skill in KNOWN.skills:
        for simulator in SIMULATORS:
            tasks = {task: measured[simulator][task] for task in KNOWN.of_skill(skill)}
            table.add_row(skill, simulator, *(f'{np.mean(known(tasks, figure)):.3f}' for figure in FIGURES))
    Console().print(table)
    print(load())


if __name__ == '__main__':
    typer.run(main)

"""Two tasks that did not exist when the bags were made: shown, asked about, trained, and old episodes relabelled.

Begins with a detector of the twelve tasks and the folder of `bench_detector.py data`, whose bags know these alone. What
is true of `lift-cup` and `place-milk` lies beside the bags, for the person who labels and for measuring.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from bench_detector import measure_on
from detector_data import ALL, KNOWN, LATER
from labelling import Labeller, Pool

from mtopt_core.checkpoint import find_checkpoint, load_manifest, newest_checkpoint
from mtopt_core.episode import Verdict
from mtopt_core.label_store import DETECTOR, HUMAN, LabelStore
from mtopt_core.progress import progress_bar
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.relabelling import relabel
from mtopt_success_detector.splits import Split
from mtopt_success_detector.trainer import train_detector


def main(
    folder: Annotated[Path, typer.Argument(help='Folder of `bench_detector.py`.')],
    start: Annotated[Path, typer.Option(help='Detector of the twelve tasks.')],
    shown: Annotated[int, typer.Option(help='Successes shown of each new task, and as many failures.')] = 15,
    asked: Annotated[int, typer.Option(help='Labels of each new task after the review queue asked.')] = 150,
    steps: Annotated[int, typer.Option(help='Gradient steps of each of two trainings.')] = 200,
    seed: Annotated[int, typer.Option(help='Of labels and training.')] = 0,
) -> None:
    """Print what the detector knows of the new tasks, and what the old episodes gain."""
    torch.set_num_threads(1)
    newest = find_checkpoint(start)
    looks = load_manifest(newest, DetectorManifest).network.looks
    pool, test = Pool(folder / 'pool', looks), Pool(folder / 'test', looks)
    measure_on(newest, test, KNOWN, 'the twelve tasks, before')
    labeller = Labeller(pool, folder / f'later-{seed}', ALL)
    labeller.draw(asked, np.random.default_rng(seed), KNOWN.names)
    for task in LATER:
        labeller.show(shown, np.random.default_rng(seed), task.name)
    newest = _train(labeller, newest, steps, seed, 'shown')
    measure_on(newest, test, ALL, f'{shown} successes and {shown} failures shown of each new task')
    judged = Grader.load(newest, ALL).judge(pool.final_images, pool.ids)
    labeller.answer(asked, judged, np.random.default_rng(seed), [task.name for task in LATER])
    newest = _train(labeller, newest, steps, seed, 'asked')
    measure_on(newest, test, ALL, f'{asked} labels of each new task, chosen by the review queue')

    grader = Grader.load(newest, ALL)
    with progress_bar('Relabelling') as report:
        relabel(labeller.data, grader, pool.final_images, pool.ids, ALL.names, os.cpu_count() or 1, report)
    store = LabelStore(labeller.data)
    ids, verdicts = store.verdicts(DETECTOR, ALL.names)
    store.close()
    place = {episode_id.decode(): row for row, episode_id in enumerate(ids.tolist())}
    verdicts, truth = verdicts[[place[name] for name in pool.ids]], pool.outcomes(ALL)
    for task in LATER:
        t = ALL.index(task.name)
        own = (pool.skills == task.skill) & ~labeller.asked[:, t]
        called, solved = verdicts[own, t] == Verdict.SUCCESS, truth[own, t] == 1
        unsure = verdicts[own, t] == Verdict.UNSURE
        print(
            f'{task.name}: of {own.sum()} old episodes nobody labelled, {solved.sum()} solve it; '
            f'{called.sum()} are called successes, {(called & solved).sum()} of them rightly; {unsure.sum()} are unsure'
        )


def _train(labeller: Labeller, start: Path, steps: int, seed: int, stage: str) -> Path:
    folder = labeller.data.root / 'models' / stage
    done = newest_checkpoint(folder)
    if done is not None:
        return done
    network = load_manifest(start, DetectorManifest).network.of_tasks(ALL)
    dataset = load_dataset(labeller.data, ALL, [HUMAN], network)
    training = TrainingConfiguration(steps=steps, seed=seed, learning_rate=1e-3)
    with progress_bar(stage) as report:
        path, manifest = train_detector(
            dataset, ALL, [HUMAN], network, training, folder, start, on_step=lambda step, _: report(step, steps)
        )
    for task in LATER:
        print(f'{task.name}: {manifest.labels[Split.TRAIN.name.lower()][task.name]}')
    return path


if __name__ == '__main__':
    typer.run(main)

"""How well the success detector judges with few labels, and after the cell has changed; the simulator's truth labels.

`data` simulates the episodes, `curve` trains with 30, 100, 300 and 1,000 labels per task, drawn at random and chosen by
the review queue, `shift` retrains on labels from the cell on another day. All go on where they were stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from detector_data import IMAGE_SIZE, KNOWN, describe, fill
from labelling import Labeller, Pool, configuration
from rich.console import Console
from rich.table import Table

from mtopt_core.checkpoint import find_checkpoint, load_manifest, newest_checkpoint
from mtopt_core.label_store import HUMAN
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.evaluation import TaskMetrics, measure_tasks
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.tables import show_metrics
from mtopt_success_detector.trainer import train_detector

STAGES = {30: 600, 100: 600, 300: 1500, 1000: 1500}
"""Gradient steps by labels per task; each stage goes on from the one before."""
BATCH = 48
BARS = {'balanced_accuracy': (0.97, 0.93), 'false_positive_rate': 0.015, 'calibration_error': 0.03, 'unsure': 0.05}
EPISODES = {'pool': (8000, 1), 'test': (7000, 2), 'shift_pool': (2500, 3), 'shift_test': (3500, 4)}
"""Number and seed of the episodes by folder."""

app = typer.Typer(add_completion=False, help=__doc__)
Folder = Annotated[Path, typer.Argument(help='Folder of the episodes and of everything that is made.')]


@app.command()
def data(
    folder: Folder,
    parts: Annotated[str, typer.Option(help='Only these folders, separated by commas.')] = ','.join(EPISODES),
    image_size: Annotated[int, typer.Option(min=16, help='Side of the recorded images, px.')] = IMAGE_SIZE,
) -> None:
    """Simulate the episodes: three views, half of the scripts aimed well and half badly."""
    unknown = set(parts.split(',')) - set(EPISODES)
    if unknown:
        raise typer.BadParameter(f'unknown {", ".join(unknown)}; known: {", ".join(EPISODES)}', param_hint='--parts')
    for name in parts.split(','):
        episodes, seed = EPISODES[name]
        shifted = name.startswith('shift')
        with progress_bar(name) as report:
            fill(
                folder / name,
                name.replace('_', ''),
                episodes,
                seed,
                shifted=shifted,
                image_size=image_size,
                report=report,
            )
        print(f'{name}: {describe(folder / name)}')


@app.command()
def curve(
    folder: Folder,
    branches: Annotated[str, typer.Option(help='How labels are found: random, chosen.')] = 'random,chosen',
    most: Annotated[int, typer.Option(help='Labels per task to stop at.')] = max(STAGES),
    seed: Annotated[int, typer.Option(help='Of labels and training.')] = 0,
) -> None:
    """Print figures by number of labels, and the bars at 300."""
    torch.set_num_threads(1)
    pool, test = Pool(folder / 'pool'), Pool(folder / 'test')
    figures: dict[str, dict[int, Mapping[str, TaskMetrics]]] = {}
    for branch in branches.split(','):
        figures[branch] = {}
        labeller = Labeller(pool, folder / f'{branch}-{seed}', KNOWN)
        before = None
        for labels, steps in STAGES.items():
            if labels > most:
                break
            rng = np.random.default_rng((seed, labels))
            if branch == 'random' or before is None:
                labeller.draw(labels, rng)
            else:
                grader = Grader.load(before, KNOWN)
                labeller.answer(labels, grader.judge(pool.final_images, pool.ids), rng)
            before = train_stage(labeller, labels, steps, seed, before)
            figures[branch][labels] = measure_on(before, test, KNOWN, f'{branch}, {labels} labels per task')
            print(f'successes among the training labels: {labeller.counts()}', flush=True)
    show_curve(figures)
    for branch, stages in figures.items():
        if 300 in stages:
            show_bars(stages[300], f'{branch}, 300 labels per task')


@app.command()
def measure(
    folder: Folder, checkpoint: Annotated[Path, typer.Option(help='A detector, or a folder of them: the newest.')]
) -> None:
    """Print the figures of a detector trained by `mtopt detector train`, on all test episodes, beside the bars."""
    torch.set_num_threads(1)
    path = find_checkpoint(checkpoint)
    looks = load_manifest(path, DetectorManifest).network.looks
    title = f'{path.name}, {looks.image_size} px'
    show_bars(measure_on(path, Pool(folder / 'test', looks), KNOWN, title), title)


@app.command()
def shift(
    folder: Folder,
    start: Annotated[Path, typer.Option(help='Folder of the detector to begin with.')],
    labels: Annotated[int, typer.Option(help='Review labels per task.')] = 50,
    steps: Annotated[int, typer.Option(help='Gradient steps.')] = 300,
    seed: Annotated[int, typer.Option(help='Of labels and training.')] = 0,
) -> None:
    """Print figures on the cell on another day, before and after some review labels from there."""
    torch.set_num_threads(1)
    pool, test = Pool(folder / 'shift_pool'), Pool(folder / 'shift_test')
    newest = newest_checkpoint(start)
    assert newest is not None, f'{start} holds no detector'
    before = measure_on(newest, test, KNOWN, 'the cell on another day, before')
    labeller = Labeller(pool, folder / f'shift-{seed}', KNOWN)
    judged = Grader.load(newest, KNOWN).judge(pool.final_images, pool.ids)
    labeller.answer(labels, judged, np.random.default_rng(seed))
    path = train_stage(labeller, labels, steps, seed, newest)
    after = measure_on(path, test, KNOWN, f'the cell on another day, after {labels} review labels per task')
    show_curve({'before': {0: before}, 'after': {labels: after}})
    show_bars(after, 'after')


def train_stage(labeller: Labeller, labels: int, steps: int, seed: int, start: Path | None) -> Path:
    """Train on the labels there are, unless that was done before; return the checkpoint."""
    folder = labeller.data.root / 'models' / f'{labels:04}'
    done = newest_checkpoint(folder)
    if done is not None:
        return done
    network = configuration(labeller.tasks)
    dataset = load_dataset(labeller.data, labeller.tasks, [HUMAN], network)
    with progress_bar(f'{labeller.data.root.name}, {labels} labels per task') as report:
        path, _ = train_detector(
            dataset,
            labeller.tasks,
            [HUMAN],
            network,
            TrainingConfiguration(steps=steps, batch=BATCH, seed=seed),
            folder,
            start=start,
            on_step=lambda step, _loss: report(step, steps),
        )
    return path


def measure_on(path: Path, test: Pool, tasks: TaskSet, title: str) -> dict[str, TaskMetrics]:
    """Measure a detector on all episodes of a folder, print and keep the figures."""
    grader = Grader.load(path, tasks)
    with progress_bar('Judging') as report:
        probabilities = grader.probabilities(test.final_images, test.ids, report)
    metrics = measure_tasks(
        tasks.names, probabilities, test.outcomes(tasks), test.own_skill(tasks), grader.manifest.thresholds
    )
    show_metrics(metrics, load_manifest(path, DetectorManifest), title)
    text = json.dumps({task: one.model_dump() for task, one in metrics.items()})
    (path / f'{test.root.name}.json').write_text(text)
    return metrics


def show_curve(figures: Mapping[str, Mapping[int, Mapping[str, TaskMetrics]]]) -> None:
    """Print the learning curve."""
    table = Table('labels per task', title='mean (worst) over the tasks')
    for column in ('by', 'balanced accuracy', 'AUC', 'false positives', 'unsure', 'ECE'):
        table.add_column(column, justify='right')
    for branch, stages in figures.items():
        for labels, metrics in stages.items():
            table.add_row(
                str(labels),
                branch,
                *(
                    f'{np.mean(values):.3f} ({worst(values):.3f})'
                    for name, worst in (
                        ('balanced_accuracy', min),
                        ('auc', min),
                        ('false_positive_rate', max),
                        ('unsure', max),
                        ('calibration_error', max),
                    )
                    for values in [known(metrics, name)]
                ),
            )
    Console().print(table)


def show_bars(metrics: Mapping[str, TaskMetrics], title: str) -> None:
    """Print the figures that have a limit beside it."""
    balanced = known(metrics, 'balanced_accuracy')
    print(f'{title}:')
    print(f'  balanced accuracy {np.mean(balanced):.4f} mean (limit 0.97), {min(balanced):.4f} worst (limit 0.93)')
    for name, limit in BARS.items():
        if name != 'balanced_accuracy':
            values = known(metrics, name)
            print(f'  {name.replace("_", " ")} {max(values):.4f} worst, {np.mean(values):.4f} mean (limit {limit})')
    print(f'  upper end of the 95 % interval of the false positives {max(known(metrics, "false_positive_bound")):.4f}')
    print(f'  failures per task: {min(one.failures for one in metrics.values())} at least (wanted 1000)')


def known(metrics: Mapping[str, TaskMetrics], name: str) -> list[float]:
    """Return a figure of all tasks that have it."""
    return [value for one in metrics.values() if (value := getattr(one, name)) is not None]


if __name__ == '__main__':
    app()

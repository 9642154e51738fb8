"""Train, measure and use the success detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mtopt_core.checkpoint import find_checkpoint
from mtopt_core.label_store import DETECTOR, HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import load_tasks
from mtopt_success_detector.dataset import Split, load_dataset, read_final_images
from mtopt_success_detector.evaluation import TaskMetrics, Threshold, measure_tasks
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.trainer import train_detector

EPISODES_PER_COMMIT = 2000

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode='markdown')

Bags = Annotated[Path, typer.Option(help='Data folder; its bags lie in `bags`.', exists=True, file_okay=False)]
Labels = Annotated[
    str,
    typer.Option(
        help='Whose outcomes are the truth, the first that has one: human, simulator, detector. '
        '`simulator` stands in for people who label.'
    ),
]
Checkpoint = Annotated[
    Path, typer.Option(help='A checkpoint, or a folder of checkpoints: then the newest one.', exists=True)
]


@app.callback()
def _detector() -> None:
    """Train, measure and use the success detector."""


@app.command(epilog='Example: `mtopt detector train --bags data --labels simulator --out data/models/success_detector`')
def train(
    bags: Bags,
    out: Annotated[Path, typer.Option(help='Folder of the checkpoints; the new one gets a version of its own.')],
    labels: Labels = HUMAN,
    preset: Annotated[Literal['small', 'paper'], typer.Option(help='Network: 64 px for a CPU, or 472 px.')] = 'small',
    image_size: Annotated[int | None, typer.Option(help="Side of the images, px, if not the preset's.")] = None,
    steps: Annotated[int, typer.Option(help='Gradient steps.', min=1)] = TrainingConfiguration().steps,
    start: Annotated[Path | None, typer.Option('--from', help='Checkpoint, or folder of them, to go on from.')] = None,
    seed: Annotated[int, typer.Option(help='Of everything random.', min=0)] = 0,
) -> None:
    """Train a detector on labelled final images and measure it on held-out episodes.

    An episode's id decides for ever whether it is trained on, chooses the thresholds, or is held out.
    """
    tasks = load_tasks()
    presets = {'small': DetectorConfiguration.small, 'paper': DetectorConfiguration.paper}
    configuration = presets[preset](len(tasks))
    if image_size is not None:
        configuration = configuration.model_copy(update={'image_size': image_size})
    with progress_bar('Reading bags') as report:
        dataset = load_dataset(DataFolder(bags), tasks, labels.split(','), configuration, report)
    training = TrainingConfiguration(steps=steps, seed=seed)
    with progress_bar('Training the detector') as report:
        path, manifest = train_detector(
            dataset,
            tasks,
            labels.split(','),
            configuration,
            training,
            out,
            start=find_checkpoint(start) if start else None,
            on_step=lambda step, _loss: report(step, steps),
        )
    print(f'{path}: trained on {manifest.episodes["train"]} episodes, outcomes by {labels}')
    _show(manifest.held_out, manifest)


@app.command(epilog='Example: `mtopt detector evaluate --checkpoint data/models/success_detector --bags data`')
def evaluate(checkpoint: Checkpoint, bags: Bags, labels: Labels = HUMAN) -> None:
    """Measure a detector on the held-out episodes of a folder."""
    tasks = load_tasks()
    grader = Grader.load(find_checkpoint(checkpoint), tasks)
    with progress_bar('Reading bags') as report:
        dataset = load_dataset(DataFolder(bags), tasks, labels.split(','), grader.manifest.network, report).of(
            Split.TEST
        )
    with progress_bar('Judging') as report:
        probabilities = grader.probabilities(dataset.final_images, dataset.episode_ids, report)
    thresholds = grader.manifest.thresholds
    _show(measure_tasks(tasks.names, probabilities, dataset.outcomes, dataset.own_skill, thresholds), grader.manifest)


@app.command(epilog='Example: `mtopt detector grade --checkpoint data/models/success_detector --bags data`')
def grade(checkpoint: Checkpoint, bags: Bags) -> None:
    """Grade every episode of a folder for every task; the outcomes go to its label store."""
    grader = Grader.load(find_checkpoint(checkpoint), load_tasks())
    data = DataFolder(bags)
    with progress_bar('Reading bags') as report:
        rows, final_images = read_final_images(data, grader.manifest.network, report)
    episode_ids = [row.episode_id for row in rows]
    with progress_bar('Judging') as report:
        probabilities = grader.probabilities(final_images, episode_ids, report)
    outcomes = [grader.outcomes(row) for row in probabilities]
    store = LabelStore(data)
    for first in range(0, len(rows), EPISODES_PER_COMMIT):
        some = slice(first, first + EPISODES_PER_COMMIT)
        store.add_many(DETECTOR, grader.manifest.version, dict(zip(episode_ids[some], outcomes[some], strict=True)))
    store.close()
    print(f'{len(rows)} episodes graded for {len(grader.manifest.tasks)} tasks by detector {grader.manifest.version}')


def _show(held_out: Mapping[str, TaskMetrics], manifest: DetectorManifest) -> None:
    table = Table(title="Held-out episodes of the task's skill", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column('task', no_wrap=True)
    for column in ('solved', 'failed', 'AUC', 'accuracy', 'precision', 'recall', 'false alarms', 'threshold'):
        table.add_column(column, justify='right')
    for task, metrics in held_out.items():
        table.add_row(
            task,
            str(metrics.successes),
            str(metrics.failures),
            '-' if metrics.auc is None else f'{metrics.auc:.3f}',
            _percent(metrics.accuracy),
            _percent(metrics.precision),
            _percent(metrics.recall),
            _percent(metrics.false_positive_rate),
            _threshold(manifest.thresholds[task]),
        )
    Console().print(table)
    if not all(threshold.chosen for threshold in manifest.thresholds.values()):
        rate = manifest.training.false_positive_rate
        print(f'*: fewer than {1 / rate:.0f} validation failures cannot hold false alarms to {rate:.0%}')
    untaught = [task for task in manifest.tasks if task not in manifest.thresholds]
    if untaught:
        print(f'Without a success or a failure to learn from, always unsure: {", ".join(untaught)}')


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{share:.1%}'


def _threshold(threshold: Threshold) -> str:
    return f'{threshold.value:.2f}{"" if threshold.chosen else "*"}'

"""Train, measure and use the success detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from mtopt_core.catalogue import Catalogue
from mtopt_core.checkpoint import find_checkpoint, load_manifest
from mtopt_core.command_options import TasksFile
from mtopt_core.configuration import load_cell
from mtopt_core.episode_bag import read_final
from mtopt_core.errors import BagError, ConfigurationError
from mtopt_core.images import write_picture
from mtopt_core.label_store import HUMAN
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import TASKS_FILE, TaskSet, load_tasks
from mtopt_success_detector.dataset import Dataset, load_dataset
from mtopt_success_detector.evaluation import measure_tasks
from mtopt_success_detector.grader import Grader, load_detector
from mtopt_success_detector.manifest import DetectorManifest, ThresholdRule, TrainingConfiguration
from mtopt_success_detector.model_card import save_anew
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.regions_picture import picture_of_regions
from mtopt_success_detector.splits import Split
from mtopt_success_detector.tables import show_metrics
from mtopt_success_detector.trainer import train_detector

STEPS = TrainingConfiguration().steps
STEPS_FROM = 400
RULE = ThresholdRule()
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
FalsePositiveRate = Annotated[
    float, typer.Option(help='Share of the failures that may pass as success.', min=0.0001, max=0.5)
]
CellFile = Annotated[
    Path | None, typer.Option(help="The cell's configuration, whose regions it looks at; config/cell.yaml by default.")
]
Unsure = Annotated[float, typer.Option(help='Largest share of verdicts that may be unsure.', min=0, max=0.5)]


@app.callback()
def _detector() -> None:
    """Train, measure and use the success detector."""


@app.command(epilog='Example: `mtopt detector train --bags data --labels simulator --out data/models/success_detector`')
def train(
    bags: Bags,
    out: Annotated[Path, typer.Option(help='Folder of the checkpoints; the new one gets a version of its own.')],
    labels: Labels = HUMAN,
    preset: Annotated[Literal['small', 'paper'], typer.Option(help='Network: for a CPU, 64 px, or 472 px.')] = 'small',
    image_size: Annotated[
        int | None, typer.Option(help="Side of the images, px, if not the preset's or that of --from.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help=f'Gradient steps; {STEPS}, or {STEPS_FROM} with --from.', min=1)
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option('--from', help='Checkpoint, or folder of them, to go on from; it may know fewer tasks.'),
    ] = None,
    false_positive_rate: FalsePositiveRate = RULE.false_positive_rate,
    unsure: Unsure = RULE.unsure,
    seed: Annotated[int, typer.Option(help='Of everything random.', min=0)] = 0,
    cell_file: CellFile = None,
    tasks_file: TasksFile = TASKS_FILE,
) -> None:
    """Train a detector on labelled final images and measure it on held-out episodes.

    An episode's id decides for ever whether it is trained on, chooses the thresholds, or is held out. The same command
    goes on with a training that was killed. Curves are in `tensorboard` beside the checkpoints.
    """
    tasks = load_tasks(tasks_file)
    begin = find_checkpoint(start) if start else None
    if begin is not None:
        configuration = load_manifest(begin, DetectorManifest).network.of_tasks(tasks)
    else:
        presets = {'small': DetectorConfiguration.small, 'paper': DetectorConfiguration.paper}
        configuration = presets[preset](len(tasks)).of_tasks(tasks).looking_at(load_cell(cell_file).regions)
    if image_size is not None:
        configuration = configuration.model_copy(update={'image_size': image_size})
    with progress_bar('Reading bags') as report:
        dataset = load_dataset(DataFolder(bags), tasks, labels.split(','), configuration, report)
    wanted = steps or (STEPS if begin is None else STEPS_FROM)
    with progress_bar('Training the detector') as report:
        path, manifest = train_detector(
            dataset,
            tasks,
            labels.split(','),
            configuration,
            TrainingConfiguration(steps=wanted, seed=seed),
            out,
            start=begin,
            rule=ThresholdRule(false_positive_rate=false_positive_rate, unsure=unsure),
            on_step=lambda step, _loss: report(step, wanted),
        )
    print(f'{path}: trained on {manifest.episodes["train"]} episodes, outcomes by {labels}')
    show_metrics(manifest.held_out, manifest)


@app.command(epilog='Example: `mtopt detector evaluate --checkpoint data/models/success_detector --bags data`')
def evaluate(
    checkpoint: Checkpoint,
    bags: Bags,
    labels: Labels = HUMAN,
    views: Annotated[str, typer.Option(help='Judge by these cameras alone, separated by commas.')] = '',
    tasks_file: TasksFile = TASKS_FILE,
) -> None:
    """Measure a detector on the held-out episodes of a folder."""
    tasks = load_tasks(tasks_file)
    grader = Grader.load(find_checkpoint(checkpoint), tasks)
    held_out = _read(bags, tasks, labels, grader.manifest.network).of(Split.TEST)
    with progress_bar('Judging') as report:
        judged = grader.judge(held_out.final_images, held_out.episode_ids, report)
    logits, seen = judged.logits, ', '.join(grader.manifest.network.views)
    if views:
        chosen = [grader.manifest.network.views.index(name) for name in _known_views(views, grader)]
        logits, seen = np.nanmean(judged.by_view[:, chosen], axis=1), views
    probabilities = grader.manifest.calibration.probabilities(logits)
    metrics = measure_tasks(
        tasks.names, probabilities, held_out.outcomes, held_out.own_skill, grader.manifest.thresholds
    )
    size = grader.manifest.network.image_size
    show_metrics(
        metrics, grader.manifest, f'{len(held_out)} held-out episodes, {size} px, {seen}; outcomes by {labels}'
    )


@app.command(epilog='Example: `mtopt detector threshold --checkpoint models --bags data --false-positive-rate 0.005`')
def threshold(
    checkpoint: Checkpoint,
    bags: Bags,
    labels: Labels = HUMAN,
    false_positive_rate: FalsePositiveRate = RULE.false_positive_rate,
    unsure: Unsure = RULE.unsure,
    tasks_file: TasksFile = TASKS_FILE,
) -> None:
    """Calibrate a detector again and choose its thresholds anew, on the validation episodes there are now.

    The weights stay; the result is a new version beside the old one.
    """
    tasks = load_tasks(tasks_file)
    path = find_checkpoint(checkpoint)
    network, before = load_detector(path, tasks)
    dataset = _read(bags, tasks, labels, before.network)
    with progress_bar('Judging'):
        path, manifest = save_anew(
            network,
            before,
            dataset,
            tasks,
            labels.split(','),
            ThresholdRule(false_positive_rate=false_positive_rate, unsure=unsure),
            path.parent,
        )
    print(f'{path}: the weights of {before.version} with new thresholds')
    show_metrics(manifest.held_out, manifest)


@app.command(epilog='Example: `mtopt detector regions --bags data --out regions.png`')
def regions(
    bags: Bags,
    out: Annotated[Path, typer.Option(help='The picture to write, .png or .jpg.')],
    episode: Annotated[str, typer.Option(help='Whose final images to take; by default the newest.')] = '',
    cell_file: CellFile = None,
) -> None:
    """Show what the detector looks at: the regions of the cell's configuration, outlined and rectified.

    Measure the corners of a flat square around whatever shows that a skill succeeded in a picture of each camera, as
    shares of the picture, write them to the cell's configuration, and look whether they fit.
    """
    looked_at = load_cell(cell_file).regions
    if not looked_at:
        raise ConfigurationError(f'{cell_file or "config/cell.yaml"} has no regions: all skills have whole pictures')
    catalogue = Catalogue(DataFolder(bags))
    catalogue.refresh()
    rows = {row.episode_id: row for row in catalogue.episodes()}
    if not rows or (episode and episode not in rows):
        raise BagError(f'{bags} holds no episode {episode}'.rstrip() + '; collect one, or name another')
    row = rows[episode or max(rows)]
    write_picture(out, picture_of_regions(read_final(row.path).images, looked_at))
    print(f'{out}: the regions of {", ".join(looked_at)} in the final images of {row.episode_id}')


def _read(bags: Path, tasks: TaskSet, labels: str, network: DetectorConfiguration) -> Dataset:
    with progress_bar('Reading bags') as report:
        return load_dataset(DataFolder(bags), tasks, labels.split(','), network, report)


def _known_views(views: str, grader: Grader) -> list[str]:
    """Return the cameras named.

    Raises:
        ConfigurationError: The detector does not know one.
    """
    names, known = views.split(','), grader.manifest.network.views
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f'the detector knows no camera {", ".join(unknown)}; it knows {", ".join(known)}')
    return names

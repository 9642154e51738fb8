"""How fast episodes are relabelled: with cached images beside the bare network, without beside decoding their JPEGs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import torch
import typer
from bags import fill
from measuring import alternate, load, rates_table
from rich.console import Console

from mtopt_core.catalogue import Catalogue
from mtopt_core.checkpoint import new_version
from mtopt_core.configuration import load_cell
from mtopt_core.episode_bag import read_final
from mtopt_core.images import decode_jpeg
from mtopt_core.paths import DataFolder
from mtopt_core.precision import Precision
from mtopt_core.tasks import load_tasks
from mtopt_success_detector.calibration import Calibration
from mtopt_success_detector.evaluation import DEFAULT
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.judging import BATCH, Judge
from mtopt_success_detector.manifest import DetectorManifest, ThresholdRule, TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration, SuccessDetector
from mtopt_success_detector.relabelling import relabel

TASKS = load_tasks()
LIMIT, SHARE = 2000, 0.7
WORKERS = os.cpu_count() or 1


def main(
    episodes: Annotated[int, typer.Option(min=BATCH, help='Episodes to relabel with cached images.')] = 1000,
    uncached: Annotated[int, typer.Option(min=1, help='Episodes to relabel without.')] = 200,
    image_size: Annotated[int, typer.Option(help="Side of the detector's images, px.")] = 64,
    recorded: Annotated[
        list[int] | None, typer.Option(help='Side of the recorded images, px; several may be given.')
    ] = None,
    whole: Annotated[bool, typer.Option('--whole', help='A detector that looks at whole pictures alone.')] = False,
    rounds: Annotated[int, typer.Option(min=1, help='Times each is timed.')] = 5,
) -> None:
    """Print verdict sets per second, one for all tasks from three views each, and episodes per second."""
    torch.set_num_threads(1)
    small = DetectorConfiguration.small(len(TASKS)).model_copy(update={'image_size': image_size})
    configuration = small.of_tasks(TASKS).looking_at({} if whole else load_cell().regions)
    network, precision = SuccessDetector(configuration).eval(), Precision.of_this_machine()
    judge = Judge.compiled(network, precision, WORKERS)
    detectors = (_detector(judge, number) for number in count())
    sizes = recorded or (load_cell().recording.image_size, 472)
    for size in sizes:
        first = size == sizes[0]
        with tempfile.TemporaryDirectory() as root:
            data = fill(Path(root) / 'data', None, max(episodes, uncached) if first else uncached, size)
            catalogue = Catalogue(data)
            catalogue.refresh()
            bags = {row.episode_id: row.path for row in catalogue.episodes()}
            if first:
                with_images(data, dict(islice(bags.items(), episodes)), detectors, judge, precision, rounds)
            without_images(data, dict(islice(bags.items(), uncached)), size, detectors, judge, rounds)
    print(load())


def with_images(
    data: DataFolder,
    bags: dict[str, Path],
    detectors: Iterator[Grader],
    judge: Judge,
    precision: Precision,
    rounds: int,
) -> None:
    """Print how fast relabelling is with cached images, beside the network alone."""
    images = FinalImages(data, judge.network.configuration.looks)
    images.read(bags)
    ids = list(bags)[: len(bags) // BATCH * BATCH]
    pixels, present = images.images(ids[:BATCH]), images.present(ids[:BATCH])

    def forward(network: Judge) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda _: network(pixels, present), range(len(ids) // BATCH)))

    seconds = alternate(
        {
            'relabelling, images cached': lambda: relabel(data, next(detectors), images, ids, TASKS.names, WORKERS),
            'bare network, by torch alone': lambda: forward(Judge(judge.network, precision)),
            'bare network': lambda: forward(judge),
        },
        rounds,
        'cached',
    )
    title = f'{len(ids)} episodes, {images.looks.shape[0]} looks at 3 views, {images.looks.image_size} px'
    Console().print(rates_table(title, 'sets/s', len(ids), seconds))
    print(f'limit {LIMIT} sets/s')


def without_images(
    data: DataFolder, bags: dict[str, Path], size: int, detectors: Iterator[Grader], judge: Judge, rounds: int
) -> None:
    """Print how fast relabelling is from bags, beside decoding their final images on as many threads."""
    looks, numbers = judge.network.configuration.looks, count()
    jpegs = [[read_final(path).images[view] for view in looks.views] for path in bags.values()]

    def read() -> tuple[DataFolder, FinalImages]:
        folder = DataFolder(data.root / f'uncached-{next(numbers)}')
        folder.root.mkdir()
        folder.bags.symlink_to(data.bags)
        images = FinalImages(folder, looks)
        images.read(bags)
        return folder, images

    def from_bags() -> None:
        folder, images = read()
        relabel(folder, next(detectors), images, list(bags), TASKS.names, WORKERS)

    def decode() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda of_episode: [decode_jpeg(jpeg) for jpeg in of_episode], jpegs))

    seconds = alternate(
        {'relabelling, nothing cached': from_bags, 'reading final images alone': read, 'decoding alone': decode},
        rounds,
        'uncached',
    )
    Console().print(rates_table(f'{len(bags)} bags of {size} px', 'episodes/s', len(bags), seconds))
    print(f'limit {SHARE} times the rate of decoding alone')


def _detector(judge: Judge, number: int) -> Grader:
    """Return a version of its own of a network, so that it has graded nothing before."""
    manifest = DetectorManifest(
        version=f'{new_version(0)}-{number}',
        tasks=TASKS.names,
        skills=tuple(task.skill for task in TASKS.tasks),
        network=judge.network.configuration,
        training=TrainingConfiguration(),
        episodes={},
        first_episode='',
        last_episode='',
        labels={},
        calibration=Calibration.none(len(TASKS)),
        rule=ThresholdRule(),
        thresholds=dict.fromkeys(TASKS.names, DEFAULT),
        held_out={},
        references={},
    )
    return Grader(manifest, judge)


if __name__ == '__main__':
    typer.run(main)

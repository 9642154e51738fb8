"""How fast episodes are relabelled: with cached images beside the bare network, without beside decoding their JPEGs."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import torch
import typer
from bags import fill
from measuring import alternate, load, median_ratio, rates_table
from rich.console import Console

from mtopt_core.catalogue import Catalogue
from mtopt_core.checkpoint import new_version
from mtopt_core.configuration import DETECTOR_CAMERAS, load_cell
from mtopt_core.episode_bag import read_episode
from mtopt_core.images import decode_square
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
DECODED = 200
"""Episodes that are read and decoded in a round."""


def main(
    bags: Annotated[
        Path | None, typer.Option(help='Data folder to copy bags of; without one they are simulated.')
    ] = None,
    episodes: Annotated[int, typer.Option(help='Episodes to relabel.')] = 1000,
    image_size: Annotated[int, typer.Option(help="Side of the detector's images, px.")] = 64,
    whole: Annotated[bool, typer.Option('--whole', help='A detector that looks at whole pictures alone.')] = False,
    recorded: Annotated[int, typer.Option(help='Side of simulated images, px.')] = 128,
    rounds: Annotated[int, typer.Option(help='Times each is timed.')] = 5,
) -> None:
    """Print verdict sets per second, one for all tasks from three views each."""
    torch.set_num_threads(1)
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as root:
        data = fill(Path(root) / 'data', bags, episodes, recorded)
        catalogue = Catalogue(data)
        catalogue.refresh()
        rows = catalogue.episodes()
        ids = [row.episode_id for row in rows]
        small = DetectorConfiguration.small(len(TASKS)).model_copy(update={'image_size': image_size})
        configuration = small.of_tasks(TASKS).looking_at({} if whole else load_cell().regions)
        images = FinalImages(data, configuration.looks)
        images.read({row.episode_id: row.path for row in rows})
        network = SuccessDetector(configuration).eval()
        precision = Precision.of_this_machine()
        judge, by_torch = Judge.compiled(network, precision, workers), Judge(network, precision)
        detectors = (_detector(judge, number) for number in count())
        pixels, present = images.images(ids[:BATCH]), images.present(ids[:BATCH])
        ids = ids[: len(ids) // BATCH * BATCH]
        bare, cached = 'bare network', 'relabelling, images cached'

        def forward(network: Judge) -> None:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda _: network(pixels, present), range(len(ids) // len(pixels))))

        seconds = alternate(
            {
                cached: lambda: relabel(data, next(detectors), images, ids, TASKS.names, workers),
                'bare network, by torch alone': lambda: forward(by_torch),
                bare: lambda: forward(judge),
            },
            rounds,
            'cached',
        )
        Console().print(
            rates_table(
                f'{len(ids)} episodes, {images.looks.shape[0]} looks at 3 views, {image_size} px',
                'sets/s',
                len(ids),
                seconds,
            )
        )
        print(f'limit {LIMIT} sets/s')

        some = dict(islice(((row.episode_id, row.path) for row in rows), DECODED))
        jpegs = [read_episode(path).final.images[view] for path in some.values() for view in DETECTOR_CAMERAS]
        numbers = count()

        def read() -> tuple[Path, FinalImages]:
            folder = data.root / f'uncached-{next(numbers)}'
            folder.mkdir()
            (folder / 'bags').symlink_to(data.bags)
            fresh = FinalImages(DataFolder(folder), configuration.looks)
            fresh.read(some)
            return folder, fresh

        def uncached() -> None:
            folder, fresh = read()
            relabel(DataFolder(folder), next(detectors), fresh, list(some), TASKS.names, workers)

        def decode() -> None:
            for jpeg in jpegs:
                decode_square(jpeg, image_size)

        reading = 'reading final images alone'
        seconds = alternate(
            {reading: read, 'relabelling, nothing cached': uncached, 'decoding alone': decode}, rounds, 'uncached'
        )
        Console().print(rates_table(f'{len(some)} bags of {recorded} px', 'episodes/s', len(some), seconds))
        decoding = seconds.pop('decoding alone')
        for name, taken in seconds.items():
            print(f'{name}: {median_ratio(decoding, taken):.2f} times the rate of decoding alone (limit {SHARE})')
        print(load())


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

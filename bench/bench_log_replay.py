"""How many episodes per second does log replay read, beside bare decoding of the JPEGs in the same bags?

Log replay opens a bag, checks it, puts the episode together, decodes the images of the decisions, brings them to the
network's size and writes the transitions to the episode store. All of it, for images as they come from `mtopt simulate`
and as robots record them, in one process, as the decoding beside it. At least 70 % is wanted.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from bags import fill
from measuring import alternate, load, rates_table
from rich.console import Console

from mtopt_core.configuration import MAIN, WRIST, load_cell
from mtopt_core.environment import prepare
from mtopt_core.episode_bag import episode_ids, read_episode
from mtopt_core.images import decode_jpeg
from mtopt_core.label_store import SIMULATOR
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace, decisions
from mtopt_policy.learner.log_replay import LogReplay
from mtopt_policy.learner.transitions import StoreLayout

TASKS = load_tasks()
WANTED = 0.7


def replay(data: DataFolder, layout: StoreLayout) -> None:
    """Read all bags into a new episode store."""
    shutil.rmtree(data.root / 'replay', ignore_errors=True)
    LogReplay(data, TASKS, (SIMULATOR,), layout).read()


def decode(images: list[bytes]) -> None:
    """Decode images."""
    for jpeg in images:
        decode_jpeg(jpeg)


def jpegs(data: DataFolder, layout: StoreLayout) -> tuple[list[bytes], list[bytes]]:
    """Return the images in the bags: all, and of these the ones that the learner keeps."""
    every, kept = [], []
    for name in episode_ids(data.bags):
        episode = read_episode(data.bags / name)
        observations = [step.observation for step in episode.steps]
        every += [jpeg for seen in (*observations, episode.final) for jpeg in seen.images.values()]
        chosen = [observations[index] for index in decisions(episode, layout.action_space)]
        kept += [seen.images[view] for seen in chosen for view in layout.views]
    return every, kept


def main(
    data: Annotated[Path | None, typer.Option(help='Data folder to copy bags of; simulated without one.')] = None,
    episodes: Annotated[
        int, typer.Option(min=10, help='Bags to read; fewer than log replay takes two processes for.')
    ] = 200,
    image_size: Annotated[
        list[int] | None, typer.Option(help='Side of simulated images, px; several may be given.')
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help='Times to read them.')] = 5,
) -> None:
    """Print the figures."""
    prepare()
    console = Console()
    cell = load_cell()
    layout = StoreLayout(views=(MAIN, WRIST), image_size=64, action_space=ActionSpace.eased(cell.step))
    for size in image_size or (64, cell.recording.image_size):
        with tempfile.TemporaryDirectory() as folder:
            bags = fill(Path(folder), data, episodes, size)
            every, kept = jpegs(bags, layout)
            contenders = {
                'log replay': partial(replay, bags, layout),
                'decoding the images that are kept': partial(decode, kept),
                'decoding all images': partial(decode, every),
            }
            number = len(episode_ids(bags.bags))
            seconds = alternate(contenders, rounds, 'reading')
            title = f'{number} bags' if data else f'{number} bags of {size} px images'
            console.print(rates_table(title, 'episodes/s', number, seconds))
            print(f'{len(every) / number:.1f} images a bag, {len(kept) / number:.1f} of them kept')
        if data:
            break
    print(f'wanted: a ratio of at least {WANTED}. {load()}')


if __name__ == '__main__':
    typer.run(main)

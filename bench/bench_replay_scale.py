"""Does log replay hold a million episodes? A made-up store, its gradings and its bags' names, at two sizes.

Measures what could grow with the number of episodes: starting on an existing store, taking in a thousand new gradings
during a training, sampling a re-balanced batch with its images, and memory. The images are holes in sparse files.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from mtopt_core.configuration import load_cell
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.label_store import DETECTOR, HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.learner.episode_index import line
from mtopt_policy.learner.impersonation import Impersonation, impersonate
from mtopt_policy.learner.log_replay import LogReplay
from mtopt_policy.learner.rebalancing import Rebalancing
from mtopt_policy.learner.task_buffers import TaskBuffers
from mtopt_policy.learner.transitions import StoreLayout

TASKS = load_tasks()
SOURCES = (HUMAN, DETECTOR)
DECISIONS = 4
BATCH, BATCHES = 256, 400
AT_ONCE = 10_000
LIMITS = {'start-up': '10 s', 'us per transition': 'the same at both'}


class Lap:
    """Takes the time of what happens within it.

    Attributes:
        wall: Time by the wall clock, s: on a busy machine also of others' work.
        cpu: CPU time, s.
    """

    wall = 0.0
    cpu = 0.0

    def __enter__(self) -> Lap:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_error: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]


Part = dict[str, Lap | float]


def log_replay(data: DataFolder) -> LogReplay:
    """Open the store, of tiny images."""
    action_space = ActionSpace.eased(load_cell().step)
    return LogReplay(
        data, TASKS, SOURCES, StoreLayout(views=('main', 'wrist'), image_size=4, action_space=action_space)
    )


def chunks_of_ids(episodes: int) -> Iterator[list[str]]:
    """Yield the ids of the episodes in order of time."""
    for start in range(0, episodes, AT_ONCE):
        yield [f'20261123T{number:07d}_robot_{number:08x}' for number in range(start, min(start + AT_ONCE, episodes))]


def make(data: DataFolder, episodes: int) -> None:
    """Write an episode store, gradings of every task, and a folder for each bag."""
    rng, store = np.random.default_rng(0), log_replay(data).store
    with closing(LabelStore(data)) as labels, (store.folder / 'episodes.jsonl').open('w') as index:
        for ids in chunks_of_ids(episodes):
            owners = rng.integers(len(TASKS), size=len(ids))
            verdicts = (rng.random((len(ids), len(TASKS))) < 0.2).astype(int).tolist()
            for episode_id, owner in zip(ids, owners, strict=True):
                (data.bags / episode_id).mkdir(parents=True)
                index.write(line(episode_id, TASKS.names[owner], DECISIONS, ''))
            labels.add_many(DETECTOR, '20261123T000000_001000', dict(zip(ids, map(outcomes, verdicts), strict=True)))
    for shard, start in enumerate(range(0, episodes * DECISIONS, store.layout.shard_rows)):
        make_shard(
            store.folder / f'{shard:05d}', store.layout, min(store.layout.shard_rows, episodes * DECISIONS - start)
        )


def outcomes(verdicts: list[int]) -> list[Outcome]:
    """Return one outcome per task."""
    return [Outcome(task, Verdict(verdict), 0.5) for task, verdict in zip(TASKS.names, verdicts, strict=True)]


def make_shard(folder: Path, layout: StoreLayout, rows: int) -> None:
    """Write the transitions of a shard; their images take no space."""
    folder.mkdir()
    records = np.zeros(rows, layout.record)
    records['remaining'] = DECISIONS - 1 - np.arange(rows) % DECISIONS
    image = layout.image_size**2 * 3
    records['images'] = (np.arange(rows)[:, None] * len(layout.views) + np.arange(len(layout.views) + 1)) * image
    (folder / 'records').write_bytes(records.tobytes())
    with (folder / 'images').open('wb') as images:
        images.truncate(records['images'][-1, -1])


def own_memory() -> int:
    """Return this process' own memory, without mapped files, bytes."""
    for entry in Path('/proc/self/status').read_text().splitlines():
        if entry.startswith('RssAnon:'):
            return int(entry.split()[1]) * 1024
    raise OSError('/proc/self/status does not say RssAnon: this is not Linux')


def start_up(data: DataFolder) -> Part:
    """Start a training's log replay."""
    with Lap() as lap:
        refresh(log_replay(data))
    return {'start-up': lap}


def first_start_up(data: DataFolder) -> Part:
    """Start where no training has joined episodes and outcomes before."""
    for kept in data.root.rglob('outcomes-*.npz'):
        kept.unlink()
    return {'first start-up': start_up(data)['start-up']}


def training(data: DataFolder) -> Part:
    """Do what happens during a training: refresh and sample."""
    before = own_memory()
    replay = log_replay(data)
    refresh(replay)
    episodes = len(replay.store.index)
    with closing(LabelStore(data)) as labels:
        labels.add_many(HUMAN, '', {ids[0]: outcomes([1] * len(TASKS)) for ids in chunks_of_ids(episodes)}, 'bench')
    with Lap() as refreshed:
        buffers = refresh(replay)
    memory = (own_memory() - before) / episodes
    rng, store, batches = np.random.default_rng(0), replay.store, []
    for _ in range(BATCHES):
        with Lap() as lap:
            tasks, verdicts = Rebalancing().draw(buffers.sizes, BATCH, rng)
            store.images(store.sample_rows(buffers.sample(tasks, verdicts, rng), rng))
        batches.append(lap.wall / BATCH * 1e6)
    return {'refresh': refreshed, 'us per transition': statistics.median(batches), 'memory, B per episode': memory}


def refresh(replay: LogReplay) -> TaskBuffers:
    """Look for new bags and gradings and fill the buffers."""
    replay.read()
    episodes = replay.replay().training
    return TaskBuffers.of(episodes.places, impersonate(episodes, Impersonation.SKILL, TASKS))


def measure(data: DataFolder) -> Part:
    """Measure each part in a process of its own."""
    figures: Part = {}
    for part in (first_start_up, start_up, training):
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
            figures |= process.submit(part, data).result()
    return figures


def bench(
    folder: Annotated[Path, typer.Argument(help='Where to make the data; 6 GB for a million episodes.')],
    episodes: Annotated[int, typer.Option(help='Episodes of the larger size.')] = 1_000_000,
    keep: Annotated[bool, typer.Option(help='Keep the data, and use those kept before.')] = False,
) -> None:
    """Measure log replay at 10,000 episodes and at many more."""
    console = Console()
    sizes = (10_000, episodes)
    measured = []
    for size in sizes:
        data = DataFolder(folder / str(size))
        if not data.root.exists():
            console.print(f'making {size} episodes')
            make(data, size)
        measured.append(measure(data))
        if not keep:
            shutil.rmtree(data.root)
    table = Table(title=f'log replay, {len(TASKS)} tasks, batches of {BATCH}')
    for heading in ('', *(f'{size} episodes' for size in sizes), 'limit'):
        table.add_column(heading, justify='right' if heading else 'left')
    for name in measured[0]:
        table.add_row(name, *(_shown(figures[name]) for figures in measured), LIMITS.get(name, ''))
    console.print(table)


def _shown(figure: Lap | float) -> str:
    return f'{figure:.1f}' if isinstance(figure, float) else f'{figure.wall:.2f} s (CPU {figure.cpu:.2f} s)'


if __name__ == '__main__':
    typer.run(bench)

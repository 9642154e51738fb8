"""How many episodes per second and core does `mtopt simulate` make, with and without images?

One worker per row, so that the figure is that of a core; then as many workers as there are cores, as users run it.
Without images only physics, planning and policy remain: what rendering and bags cost is the difference.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from measuring import load
from rich.console import Console
from rich.table import Table

from mtopt_bringup.episode_workers import Job, Workplace, run_jobs
from mtopt_core.configuration import load_cell
from mtopt_core.environment import prepare
from mtopt_core.tasks import load_tasks

TASKS = ('lift-any', 'place-any')


@dataclass(frozen=True)
class Measured:
    """Episodes and steps per second, from the first result on: starting the workers is not counted."""

    episodes: float
    steps: float


def measure(workplace: Workplace, workers: int, episodes: int) -> Measured:
    """Simulate episodes of lifting and placing in turn."""
    started, counted, steps = 0.0, 0, 0
    for result in run_jobs(workplace, _jobs(episodes), workers):
        if not started:
            started = time.perf_counter()
            continue
        counted, steps = counted + 1, steps + result.steps
    seconds = time.perf_counter() - started
    return Measured(counted / seconds, steps / seconds)


def _jobs(episodes: int) -> Iterator[Job]:
    return (Job(number, f'bench_{number:06}', TASKS[number % 2], number, 'scripted') for number in range(episodes))


def main(episodes: Annotated[int, typer.Option(min=10, help='Episodes of each row.')] = 200) -> None:
    """Print the table."""
    prepare()
    plain = Workplace(load_cell(), load_tasks(), image_size=0)
    table = Table('', title=f'mtopt simulate, scripted, {episodes} episodes a row')
    for column in ('workers', 'episodes/s', 'steps/s', 'episodes/s and core'):
        table.add_column(column, justify='right')
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            ('no images, no bags', plain, 1),
            ('64 px, no bags', replace(plain, image_size=64), 1),
            ('64 px, bags', replace(plain, image_size=64, bags=Path(folder, '64')), 1),
            ('128 px, bags', replace(plain, image_size=128, bags=Path(folder, '128')), 1),
            ('64 px, bags', replace(plain, image_size=64, bags=Path(folder, 'all')), cores),
        ]
        for name, workplace, workers in rows:
            found = measure(workplace, workers, episodes)
            per_core = found.episodes / min(workers, cores)
            table.add_row(name, str(workers), f'{found.episodes:.1f}', f'{found.steps:.0f}', f'{per_core:.1f}')
    Console().print(table)
    print(load())


if __name__ == '__main__':
    typer.run(main)

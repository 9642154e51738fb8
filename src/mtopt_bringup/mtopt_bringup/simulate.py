"""`mtopt simulate`: bulk data from the simulated cell, in the bags the robots write."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal, TextIO

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mtopt_bringup.diverged_episodes import diverged_episodes
from mtopt_bringup.episode_workers import ROBOT, Job, Result, Workplace, run_jobs
from mtopt_bringup.interruption import Interruption
from mtopt_bringup.task_mixture import IMBALANCED, TaskMixture
from mtopt_core.checkpoint import find_checkpoint
from mtopt_core.command_options import Looks, TasksFile
from mtopt_core.configuration import load_cell
from mtopt_core.episode_bag import episode_ids, read_outcomes
from mtopt_core.errors import ConfigurationError
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import TASKS_FILE, TaskSet, load_tasks
from mtopt_policy.policies import LEARNED
from mtopt_sim.simulators import SimulatorName

STORE_EVERY = 1.0
"""Time between two commits of true outcomes, s."""

Policy = Literal['scripted', 'learned', 'mixture']


@dataclass(frozen=True)
class Series:
    """A reproducible series of episodes: number i is the same whenever, wherever and beside whatever it is simulated.

    Attributes:
        policy: Who decides.
        seed: Of the series.
        mixture: Which tasks.
    """

    policy: Policy
    seed: int
    mixture: TaskMixture

    def job(self, number: int) -> Job:
        """Return the job of an episode."""
        rng = np.random.default_rng((self.seed, number))
        now = time.strftime('%Y%m%dT%H%M%S', time.gmtime())
        return Job(
            number=number,
            episode_id=f'{now}_{ROBOT}_{self.policy}-{self.seed}-{number:06d}',
            task=self.mixture.draw(rng),
            seed=int(rng.integers(2**31)),
            policy=self.policy,
        )

    def number(self, episode_id: str) -> int | None:
        """Return which episode of the series an id is of, none for other ids."""
        match = re.fullmatch(rf'\w+_{ROBOT}_{self.policy}-{self.seed}-(\d+)', episode_id)
        return int(match[1]) if match else None

    @contextmanager
    def locked(self, folder: Path) -> Iterator[TextIO]:
        """Keep other processes from simulating the series into the same folder; yield the lock's file.

        Raises:
            ConfigurationError: Another one does.
        """
        with (folder / f'{self.policy}-{self.seed}.lock').open('a+') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f'another `mtopt simulate` writes the {self.policy} series of seed {self.seed} to {folder}; '
                    'wait for it, or give this one another --seed'
                ) from None
            yield lock

    def go_on(self, lock: TextIO, settings: Mapping[str, object]) -> None:
        """See that the series goes on with the settings it was begun with, which its lock's file says.

        Args:
            lock: From `locked`.
            settings: What the episodes depend on, by what it is called.

        Raises:
            ConfigurationError: It was begun with others.
        """
        lock.seek(0)
        text = lock.read()
        # Empty at first, or where a crash came in between.
        begun = json.loads(text) if text.endswith('}') else settings
        if other := [(name, value) for name, value in begun.items() if settings.get(name) != value]:
            said = (f'without {name}' if value is None else f'with {name} {value}' for name, value in other)
            raise ConfigurationError(
                f'the {self.policy} series of seed {self.seed} was begun {", ".join(said)} ({lock.name} says so); '
                'go on like that, or give this one another --seed'
            )
        if begun is settings:
            lock.truncate(0)
            json.dump(settings, lock)
            lock.flush()


def simulate(
    out: Annotated[Path, typer.Option(help='Data folder; bags go to `bags`, true outcomes to the label store.')],
    episodes: Annotated[
        int, typer.Option(min=1, help='Episodes the series shall have, those simulated before included.')
    ],
    workers: Annotated[int, typer.Option(min=0, help='Processes; 0 takes one per core.')] = 0,
    tasks: Annotated[
        str, typer.Option(help='imbalanced (mostly lift-any and place-any), uniform, or names separated by commas.')
    ] = IMBALANCED,
    tasks_file: TasksFile = TASKS_FILE,
    policy: Annotated[Policy, typer.Option(help='Who decides; a mixture is drawn for each episode.')] = 'scripted',
    checkpoint: Annotated[
        Path | None, typer.Option(help='The learned policy: a checkpoint, or a folder of them, then the newest.')
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help='Of the series; the same seed gives the same episodes.')] = 0,
    image_size: Annotated[int, typer.Option(min=16, help='Side of the images, px.')] = 64,
    aim: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar='SIGMA',
            help='Let the scripted policy aim at a random object with this error (standard deviation, m). It is told '
            'where the objects are, which no robot knows: a better teacher than a real cell has.',
        ),
    ] = None,
    exploration: Annotated[
        float, typer.Option(min=0, max=1, help='Share of random moves among those of the learned policy.')
    ] = 0.0,
    setting: Annotated[
        Literal['eased', 'full'], typer.Option(help='Action space of scripted episodes; a checkpoint brings its own.')
    ] = 'eased',
    sim: Annotated[
        SimulatorName, typer.Option(help='What simulates the cell; Gazebo needs `make gazebo-root` and is slower.')
    ] = 'mujoco',
    looks: Looks = 1.0,
) -> None:
    """Simulate episodes without ROS on all cores.

    Same cell, same policies, same bags as through the graph, many times faster. A place episode starts with an object
    in the hand. Ctrl-C stops after the running episodes; the same command goes on from there, with the same checkpoint:
    name it where a newer one may be exported meanwhile. An episode whose physics diverge at every try leaves a line in
    `diverged.txt` instead of a bag.
    """
    known, data = load_tasks(tasks_file), DataFolder(out)
    series = Series(policy, seed, TaskMixture.parse(tasks, known))
    workplace = Workplace(
        load_cell(),
        known,
        image_size,
        checkpoints={} if checkpoint is None else {LEARNED: find_checkpoint(checkpoint)},
        setting=setting,
        aim=aim,
        exploration=exploration,
        bags=data.bags,
        simulator=sim,
        looks=looks,
    )
    data.bags.mkdir(parents=True, exist_ok=True)
    console = Console()
    settings = {
        '--tasks': tasks,
        'the tasks': ', '.join(known.names),
        '--checkpoint': workplace.checkpoints[LEARNED].name if checkpoint else None,
        '--image-size': image_size,
        '--aim': aim,
        '--exploration': exploration,
        '--setting': setting,
        '--sim': sim,
        '--looks': looks,
    }
    with series.locked(out) as lock, Interruption() as interruption:
        store = LabelStore(data)
        done = _simulated_before(series, data, store)
        if done:
            console.print(f'{len(done)} episodes of this series were simulated before')
        missing = [number for number in range(episodes) if number not in done]
        if missing:
            series.go_on(lock, settings)
        jobs = map(series.job, missing)
        wanted = takewhile(lambda _: not interruption.requested, jobs)
        with _Display(known, episodes, len(done), console) as display:
            for results in _batches(run_jobs(workplace, wanted, workers or os.cpu_count() or 1), display):
                carried_out = [result for result in results if not result.problem]
                store.add_many(SIMULATOR, '', {result.job.episode_id: result.outcomes for result in carried_out})
        store.close()
    display.summarise(out)
    if interruption.requested:
        console.print('stopped; the same command goes on from here')


def _simulated_before(series: Series, data: DataFolder, store: LabelStore) -> set[int]:
    """Return the numbers of the episodes there are or cannot be; store outcomes a crash kept from the label store."""
    bags = {number: name for name in episode_ids(data.bags) if (number := series.number(name)) is not None}
    graded = store.all_outcomes([SIMULATOR])
    lacking = {name: read_outcomes(data.bags / name) for name in bags.values() if name not in graded}
    store.add_many(SIMULATOR, '', {name: gradings[0].outcomes for name, gradings in lacking.items()})
    return set(bags) | {number for name in diverged_episodes(data) if (number := series.number(name)) is not None}


def _batches(results: Iterator[Result], display: _Display) -> Iterator[list[Result]]:
    """Show the results and yield those of every `STORE_EVERY` seconds together."""
    batch: list[Result] = []
    started = time.monotonic()
    for result in results:
        display.show(result)
        batch.append(result)
        if time.monotonic() - started > STORE_EVERY:
            yield batch
            batch, started = [], time.monotonic()
    yield batch


class _Display:
    """A progress bar with speed and success by skill.

    Args:
        tasks: The tasks and their skills.
        episodes: Episodes of the series.
        done: Episodes simulated before.
        console: Where to show it.
    """

    def __init__(self, tasks: TaskSet, episodes: int, done: int, console: Console) -> None:
        self._tasks = tasks
        self._console = console
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._steps = self._diverged = 0
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn('simulating'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[rate]}{task.fields[successes]}'),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task('', total=episodes, completed=done, rate='', successes='')

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @property
    def _episodes(self) -> int:
        return sum(tried for _, tried in self._counts.values())

    def show(self, result: Result) -> None:
        """Count an episode in."""
        if not self._episodes:
            self._start = time.monotonic()  # the workers have started
        if result.problem:
            self._diverged += 1
            self._progress.update(self._bar, advance=1)
            return
        count = self._counts[self._tasks[result.job.task].skill]
        count[0] += result.solved
        count[1] += 1
        self._steps += result.steps
        self._progress.update(self._bar, advance=1, rate=f'{self._rate:.1f}/s', successes=self._successes)

    @property
    def _rate(self) -> float:
        return (self._episodes - 1) / max(time.monotonic() - self._start, 1e-9)

    @property
    def _successes(self) -> str:
        return ''.join(f', {skill} {won / tried:.0%}' for skill, (won, tried) in sorted(self._counts.items()))

    def summarise(self, out: Path) -> None:
        """Print what was measured."""
        if self._episodes:
            speed = f'{self._rate:.1f} episodes/s{self._successes}'
            self._console.print(f'{self._episodes} episodes, {self._steps} steps, in {out}: {speed}')
        if self._diverged:
            self._console.print(
                f'{self._diverged} more were not carried out, as the physics diverged at every try: '
                f'{DataFolder(out).diverged} says which; they are not tried again'
            )

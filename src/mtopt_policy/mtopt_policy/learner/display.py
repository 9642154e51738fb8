"""What `mtopt train` shows: the data it learns from, progress with the Q-values by task, what was measured."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mtopt_policy.learner.monitor import Interval
from mtopt_policy.learner.task_buffers import FAILURE, SUCCESS
from mtopt_policy.learner.training import Training
from mtopt_policy.manifest import PolicyManifest


class Display:
    """Shows a training on a console; a context manager while it runs.

    Args:
        training: The training.
        steps: Gradient steps it is to make in all.
        console: Where to show it.
    """

    def __init__(self, training: Training, steps: int, console: Console) -> None:
        self._training = training
        self._console = console
        self._q = np.full((len(training.options.tasks), 2), np.nan)
        self._areas: dict[str, float] = {}
        self._progress = Progress(
            TextColumn('training'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('loss {task.fields[loss]:.3f}'),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task('', total=steps, completed=training.step, loss=math.nan)
        self._live = Live(self._render(), console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()
        self._console.print(self._table())

    def stepped(self, step: int, interval: Interval) -> None:
        """Show the last steps' loss and Q-values."""
        self._q = interval.q
        self._progress.update(self._bar, completed=step, loss=interval.loss)
        self._live.update(self._render(), refresh=True)

    def exported(self, path: Path, manifest: PolicyManifest) -> None:
        """Show how good the exported policy is on held-out episodes."""
        self._areas = manifest.training.areas_under_curve if manifest.training else {}
        if not self._console.is_terminal:
            known = list(self._areas.values())
            mean = f', mean held-out AUC {np.mean(known):.2f}' if known else ''
            self._console.print(f'step {self._training.step}: exported {path}{mean}')

    def _render(self) -> Group:
        return Group(self._table(), self._progress)

    def _table(self) -> Table:
        table = Table('task', box=None)
        for name in ('failures', 'successes', 'Q failures', 'Q successes', 'held-out AUC'):
            table.add_column(name, justify='right')
        for number, (task, sizes) in enumerate(
            zip(self._training.options.tasks.names, self._training.learner.buffers.sizes, strict=True)
        ):
            if sizes.any():
                table.add_row(
                    task,
                    str(sizes[FAILURE]),
                    str(sizes[SUCCESS]),
                    _figure(self._q[number, FAILURE]),
                    _figure(self._q[number, SUCCESS]),
                    _figure(self._areas.get(task, math.nan)),
                )
        return table


def print_data(training: Training, console: Console) -> None:
    """Print what the training learns from, and what is missing for it."""
    replay, sizes = training.learner.replay, training.learner.buffers.sizes
    names = np.array(training.options.tasks.names)
    console.print(
        f'{len(replay.training)} episodes to learn from, {len(replay.held_out)} held out; '
        f'outcomes by {", then ".join(training.options.sources)}; '
        f'{training.options.impersonation} impersonation; {training.options.setting} action space'
    )
    store = training.store
    used, free = store.bytes_on_disk / 1e9, shutil.disk_usage(store.folder).free / 1e9
    console.print(f'episode store of {len(store.index)} episodes: {used:.2f} GB in {store.folder}, {free:.0f} GB free')
    for reason, number in replay.left_out.most_common():
        console.print(f'{number} episodes left out: {reason}')
    if training.options.learn:
        console.print(f'learning only {", ".join(training.options.learned)}')
    empty = names[~sizes.any(axis=1) & np.isin(names, training.options.learned)]
    if len(empty):
        console.print(f'[yellow]no episodes, so not learned: {", ".join(empty)}')
    for outcome, name, consequence in (
        (SUCCESS, 'success', 'only failures are learned'),
        (FAILURE, 'failure', 'only successes are learned'),
    ):
        lacking = names[sizes.any(axis=1) & (sizes[:, outcome] == 0)]
        if len(lacking):
            console.print(f'[yellow]no {name} yet, {consequence}: {", ".join(lacking)}')


def print_measured(training: Training, console: Console) -> None:
    """Print what a run measured."""
    measured = training.measured
    if measured.episodes:
        console.print(f'read {measured.episodes} episodes, {measured.episodes / measured.read_seconds:.0f} per second')
    if measured.steps:
        console.print(
            f'{measured.steps} steps in {measured.seconds:.0f} s, {measured.steps / measured.seconds:.1f} per second, '
            f'{measured.waited / measured.seconds:.0%} of the time waiting for data'
        )
    console.print(f'{training.step} steps in all; policies in {training.folder.policies}')


def _figure(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.2f}'

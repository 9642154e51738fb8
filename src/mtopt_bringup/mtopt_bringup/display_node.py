"""Shows what the robots do: on a terminal a line each that changes, in a log a new line for what is worth one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from mtopt_msgs.msg import CollectorStatus

REPORT_PERIOD = 600.0
"""s after which a log tells a robot's figures again although nothing has changed."""
IDLE = 5.0
"""s after which a log calls a robot idle."""


class Display(Protocol):
    """What `display` yields."""

    def show(self, statuses: Iterable[CollectorStatus]) -> None:
        """Show what the robots are doing."""

    def say(self, text: str) -> None:
        """Tell what has happened."""

    def stopping(self) -> None:
        """Say that the nodes are being stopped."""


@contextmanager
def display(console: Console, total: int | None) -> Iterator[Display]:
    """Yield what shows the robots' statuses.

    Args:
        console: Where.
        total: Episodes each robot is to collect; None for no end.
    """
    if not console.is_terminal:
        yield Log(console)
        return
    columns = SpinnerColumn(), TextColumn('{task.description}'), *([BarColumn()] if total else [])
    doing = TextColumn('{task.fields[doing]}')
    with Progress(*columns, doing, TimeElapsedColumn(), console=console, transient=True) as progress:
        yield _Bars(progress, total)


class _Bars:
    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress, self._total = progress, total
        self._nodes = progress.add_task('starting the nodes', total=total, doing='')
        self._bars: dict[str, TaskID] = {}

    def show(self, statuses: Iterable[CollectorStatus]) -> None:
        for status in statuses:
            self._progress.update(self._nodes, visible=False)
            if status.robot not in self._bars:
                self._bars[status.robot] = self._progress.add_task(status.robot, total=self._total, doing='')
            style = {status.STATE_WAITING: 'yellow', status.STATE_NEEDS_PERSON: 'bold red'}.get(status.state, 'none')
            doing = f'[{style}]{escape(_sentence(status, _doing(status)))}[/]'
            self._progress.update(self._bars[status.robot], completed=status.episodes, doing=doing)

    def say(self, text: str) -> None:
        self._progress.console.print(text, style='yellow', markup=False, highlight=False)

    def stopping(self) -> None:
        self._progress.update(self._nodes, description='stopping the nodes', visible=True)


class Log:
    """A line with its time for every change that lasts longer than an episode's parts, and now and then the figures.

    Args:
        console: Where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, tuple[str, float]] = {}
        self._seen: dict[str, tuple[str, float]] = {}
        self.say('starting the nodes')

    def show(self, statuses: Iterable[CollectorStatus]) -> None:
        """Tell what has changed."""
        for status in statuses:
            now, doing = time.monotonic(), _doing(status)
            collects = status.state in (status.STATE_RESETTING, status.STATE_RUNNING, status.STATE_GRADING)
            doing = 'collects' if collects else doing
            # What is waited for may be told with figures that change every second.
            matter = re.sub(r'\d+', '', doing)
            seen, since = self._seen.get(status.robot, ('', now))
            self._seen[status.robot] = matter, since if seen == matter else now
            told, at = self._told.get(status.robot, ('', 0.0))
            # A collector is idle for a moment between episodes too.
            lasts = status.state != status.STATE_IDLE or now - self._seen[status.robot][1] > IDLE
            if (matter != told and lasts) or now - at > REPORT_PERIOD:
                self._told[status.robot] = matter, now
                self.say(f'{status.robot}: {_sentence(status, doing)}')

    def say(self, text: str) -> None:
        """Tell what has happened."""
        line = f'{time.strftime("%Y-%m-%d %H:%M:%S")} {text}'
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stopping(self) -> None:
        """Say that the nodes are being stopped."""
        self.say('stopping the nodes')


def _sentence(status: CollectorStatus, doing: str) -> str:
    return f'{status.episodes} episodes, {status.successes} successes; {doing}'


def _doing(status: CollectorStatus) -> str:
    return {
        status.STATE_IDLE: 'idle',
        status.STATE_RESETTING: f'resetting for {status.task}',
        status.STATE_RUNNING: status.task,
        status.STATE_GRADING: f'grading {status.task}',
        status.STATE_PAUSED: 'paused',
        status.STATE_WAITING: f'waits: {status.message}',
        status.STATE_NEEDS_PERSON: f'needs a person: {status.message}',
    }[status.state]

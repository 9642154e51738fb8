"""How far a long job is: what algorithms are given to tell it, and the bar that commands show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
"""Told how much is done, and of how much."""


def silent(_done: int, _total: int) -> None:
    """Report to nobody."""


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Show a bar on standard error while the context lasts.

    Args:
        title: What is going on.

    Yields:
        What the job is to tell how far it is.
    """
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    times = TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

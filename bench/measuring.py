"""What every benchmark does alike: contenders in turn, ratios round by round, the machine's load beside them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.progress import track
from rich.table import Table


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int, title: str) -> dict[str, list[float]]:
    """Time contenders in turn, so that all see the same load; each has run once before.

    Args:
        contenders: What is timed, by name.
        rounds: Times each is timed.
        title: What is going on, for the progress bar.

    Returns:
        Seconds, by name and round.
    """
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in track(range(rounds), title, console=Console(stderr=True), transient=True):
        for name, run in contenders.items():
            seconds[name].append(timed(run))
    return seconds


def timed(run: Callable[[], object]) -> float:
    """Return the seconds something takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median of the ratios round by round: what else the machine does meanwhile cancels out of it."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def rates_table(title: str, unit: str, amount: float, seconds: Mapping[str, Sequence[float]]) -> Table:
    """Return contenders' speeds as a table, each also as a multiple of the last one's.

    Args:
        title: What was measured.
        unit: Of the speed, as in `steps/s`.
        amount: What each did in a round, in that unit's numerator.
        seconds: By contender and round.
    """
    table = Table('', title=title)
    table.add_column(unit, justify='right')
    *_, reference = seconds.values()
    table.add_column('times the last', justify='right')
    for name, measured in seconds.items():
        ratio = median_ratio(reference, measured)
        table.add_row(name, f'{amount / statistics.median(measured):,.1f}', f'{ratio:.2f}')
    return table


def load() -> str:
    """Return the load of this machine as a sentence to print below the figures."""
    return f'load of this machine while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores'

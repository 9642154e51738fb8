"""A study for people: a table for the terminal and for the documentation, a figure for those who look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from mtopt_bringup.evaluation import TaskResult
from mtopt_bringup.figures import GRID, INK, QUIET, STYLE
from mtopt_bringup.studies import RUNS, Study
from mtopt_bringup.study_results import Row

SETTING = 'eased setting: wrist view, gripper frame, close and open in place, scripted ending'
BAR = '#2463d6'


def heading(name: str, study: Study, rows: Sequence[Row]) -> str:
    """Return what stands above a study's table."""
    seeds = sorted({seed for row in rows for seed in row.seeds})
    kind = 'INDICATIVE, one seed, fewer steps; ' if study.indicative else ''
    full = ', but where a run is called full' if any(RUNS[run].setting == 'full' for run in study.runs) else ''
    numbers = ', '.join(map(str, seeds))
    return f'{name}: success by the truth; {kind}seeds {numbers}; intervals of the scenes alone; {SETTING}{full}'


def columns(study: Study) -> list[str]:
    """Return the columns of a study's table, without the run's name and the paper's figures."""
    return list(study.tasks) if study.tasks else ['minimum', 'mean', 'maximum', 'low-data mean']


def cells(study: Study, row: Row) -> list[str]:
    """Return a row's cells under `columns`."""
    if study.tasks:
        return [with_interval(row.tasks[task]) if task in row.tasks else '' for task in study.tasks]
    low, high = row.rates.min(), row.rates.max()
    means = [with_interval(row.groups[group]) for group in ('all', 'low-data')]
    return [f'{low:.2f}', means[0], f'{high:.2f}', means[1]]


def with_interval(result: TaskResult) -> str:
    """Return a success rate with its 95 % Wilson interval."""
    low, high = result.interval
    return f'{result.rate:.2f} [{low:.2f}, {high:.2f}]'


def terminal_table(name: str, study: Study, rows: Sequence[Row]) -> Table:
    """Return a study for a terminal."""
    table = Table('run', *columns(study), 'paper', title=heading(name, study, rows))
    for row in rows:
        table.add_row(row.run, *cells(study, row), study.runs[row.run])
    return table


def markdown_table(study: Study, rows: Sequence[Row]) -> str:
    """Return a study for the documentation."""
    return '\n'.join(_markdown(['run', *columns(study), 'paper'], _lines(study, rows)))


def markdown_tasks(rows: Sequence[Row]) -> str:
    """Return every task's rate in every run, for the documentation."""
    names = list(rows[0].tasks)
    body = [[name, *(f'{row.tasks[name].rate:.2f}' if name in row.tasks else '' for row in rows)] for name in names]
    return '\n'.join(_markdown(['task', *(row.run for row in rows)], body))


def _lines(study: Study, rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        yield [f'`{row.run}`', *cells(study, row), study.runs[row.run]]


def _markdown(head: Sequence[str], body: Iterator[list[str]] | Sequence[list[str]]) -> Iterator[str]:
    yield f'| {" | ".join(head)} |'
    yield f'|{"---|" * len(head)}'
    for line in body:
        yield f'| {" | ".join(line)} |'


def write_figure(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Draw the runs side by side: a bar with its interval per task or group, a dot per seed."""
    names = list(study.tasks) or ['all', 'low-data']
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.0 * len(names), 0.8 + 0.42 * len(rows)), layout='constrained')
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        places = np.arange(len(rows))[::-1]
        for axes, name in zip(panels, names, strict=True):
            for place, row in zip(places, rows, strict=True):
                result = row.tasks.get(name) or row.groups.get(name)
                if result is None:
                    continue
                low, high = result.interval
                axes.barh(place, result.rate, color=BAR, alpha=0.85, height=0.62)
                axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
                axes.plot(row.by_seed[name], [place] * len(row.by_seed[name]), 'o', color=QUIET, markersize=3.5)
            axes.set_title({'all': 'mean of all tasks', 'low-data': 'mean of low-data tasks'}.get(name, name))
            axes.set_xlim(0, 1)
            axes.grid(axis='x', color=GRID)
            axes.set_axisbelow(True)
        panels[0].set_yticks(places, [row.run for row in rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)

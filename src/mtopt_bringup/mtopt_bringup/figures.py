"""The report's figures: plain numbers in, inline SVG out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtopt_bringup.evaluation import Evaluation
from mtopt_bringup.impersonation_counts import Counts
from mtopt_core.data_growth import TaskGrowth
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.task_buffers import FAILURE as TASK_FAILURE
from mtopt_policy.learner.task_buffers import SUCCESS as TASK_SUCCESS
from mtopt_policy.policies import SCRIPTED

INK, QUIET, GRID = '#1b2530', '#67737e', '#e6eaee'
SUCCESS, FAILURE = '#1d9a6c', '#c9d1d8'
GROWTH = {
    'success, learned policy': SUCCESS,
    'success, script': '#93d7bb',
    'failure, learned policy': '#97a3af',
    'failure, script': '#dbe1e6',
}
SCRIPTED_COLOUR = '#8794a1'
LEARNED_COLOURS = ('#2463d6', '#b4690e', '#8b3fc4', '#0f8a8a', '#c2413a', '#5b7a1e')
# The third is a ring, because it often lies over the second.
IMPERSONATED: dict[Impersonation, Any] = {
    Impersonation.NONE: {'label': 'its own', 'color': SCRIPTED_COLOUR},
    Impersonation.SKILL: {'label': 'with those of its skill', 'color': SUCCESS},
    Impersonation.ALL: {'label': 'with all', 'color': LEARNED_COLOURS[1], 'markersize': 10, 'fillstyle': 'none'},
}
STYLE: Any = {
    'font.family': 'DejaVu Sans',
    'font.size': 9,
    'text.color': INK,
    'axes.labelcolor': QUIET,
    'axes.edgecolor': '#b8c1c9',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.titlesize': 9,
    'axes.titlelocation': 'left',
    'xtick.color': QUIET,
    'ytick.color': QUIET,
    'svg.fonttype': 'path',
    'svg.hashsalt': 'mtopt',
}


def growth(tasks: Sequence[TaskGrowth]) -> str:
    """Draw how the data grew (paper Fig. 5), task by task: successes, failures, by learned policies and scripts."""
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.75 * rows + 0.2), layout='constrained')
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
        for axes, task in zip(panels, tasks, strict=False):
            successes, failures = task.successes, task.failures
            bands = (task.learned_successes, task.other_successes, task.learned_failures, task.other_failures)
            # A curve of a few hundred points looks the same and keeps the report small.
            at = np.unique(np.linspace(0, len(successes) - 1, 300).astype(int))
            areas = axes.stackplot(at + 1, *(band[at] for band in bands), colors=tuple(GROWTH.values()), linewidth=0)
            axes.set_title(task.task, color=INK)
            axes.annotate(
                f'{successes[-1]:,} of {successes[-1] + failures[-1]:,}',
                (0.04, 0.86),
                xycoords='axes fraction',
                color=SUCCESS,
                fontsize=8,
            )
            axes.margins(0)
            axes.locator_params(nbins=3)
            axes.set_ylim(0, max(1, (successes[-1] + failures[-1]) * 1.25))
        for axes in list(panels):
            axes.set_axis_off()
        figure.supxlabel('episodes collected', color=QUIET, fontsize=9)
        figure.legend(areas, GROWTH, loc='outside upper right', frameon=False, ncols=len(GROWTH))
        return _svg(figure)


def policy_colours(policies: Sequence[str]) -> dict[str, str]:
    """Return a colour for every policy of a comparison: the script is grey."""
    learned = cycle(LEARNED_COLOURS)
    return {policy: SCRIPTED_COLOUR if policy == SCRIPTED else next(learned) for policy in policies}


def success_rates(evaluation: Evaluation) -> str:
    """Draw each policy's success per task with its 95 % Wilson interval."""
    tasks, colours = evaluation.tasks, policy_colours(evaluation.policies)
    beside = len(colours)
    offsets = (np.arange(beside) - (beside - 1) / 2) * min(0.34, 0.8 / beside)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, max(0.42, 0.15 * beside) * len(tasks) + 0.9), layout='constrained')
        axes = figure.subplots()
        for (policy, colour), offset in zip(colours.items(), offsets, strict=True):
            results = [evaluation.find(policy, task) for task in tasks]
            rates = np.array([result.rate for result in results])
            low, high = np.array([result.interval for result in results]).T
            axes.errorbar(
                100 * rates,
                np.arange(len(tasks)) + offset,
                xerr=100 * np.clip([rates - low, high - rates], 0, None),
                fmt='o',
                markersize=6,
                linewidth=2.2,
                color=colour,
                label=policy,
            )
        axes.set_yticks(range(len(tasks)), tasks, color=INK)
        axes.set_ylim(len(tasks) - 0.45, -0.55)
        axes.set_xlim(-1, 101)
        axes.set_xlabel('success, % (line: 95 % Wilson interval)')
        _grid(axes, 'x')
        axes.legend(frameon=False, loc='upper center', bbox_to_anchor=(0.5, 1.1 + 0.2 / len(tasks)), ncols=3)
        return _svg(figure)


def impersonation(counts: Counts, tasks: Sequence[str]) -> str:
    """Draw how many episodes every task has to learn from, by impersonation function."""
    with mpl.rc_context(STYLE):
        return _svg(_impersonation(counts, tasks))


def save_impersonation(counts: Counts, tasks: Sequence[str], path: Path) -> None:
    """Write the same figure as a file, PNG or SVG by its name.

    Raises:
        OSError: It cannot be written.
    """
    with mpl.rc_context(STYLE):
        _impersonation(counts, tasks).savefig(path, dpi=160)


def _impersonation(counts: Counts, tasks: Sequence[str]) -> Figure:
    """Draw two panels, successes and failures: a line from what a task has itself to what it has at most."""
    figure = Figure(figsize=(9.6, 0.32 * len(tasks) + 1.1), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(tasks))
    for outcome, title, axes in zip((TASK_SUCCESS, TASK_FAILURE), ('successes', 'failures'), panels, strict=True):
        every = np.stack([sizes[:, outcome] for sizes in counts.values()])
        axes.hlines(places, every.min(axis=0), every.max(axis=0), color=GRID, linewidth=3)
        axes.set_title(title, color=INK)
        axes.set_xscale('symlog', linthresh=1)
        axes.set_xlim(-0.35, max(10, every.max() * 1.6))
        axes.xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
        _grid(axes, 'x')
    for strategy, sizes in counts.items():
        for outcome, axes in zip((TASK_SUCCESS, TASK_FAILURE), panels, strict=True):
            axes.plot(sizes[:, outcome], places, 'o', **IMPERSONATED[strategy])
    panels[0].set_yticks(places, tasks, color=INK)
    panels[0].set_ylim(len(tasks) - 0.5, -0.5)
    figure.supxlabel('episodes, logarithmic', color=QUIET, fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside upper right', frameon=False, ncols=len(counts))
    return figure


def histogram(samples: Sequence[float], label: str) -> str:
    """Draw a small histogram with its median marked; the highest 1 % share the last bar."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 1.5), layout='constrained')
        axes = figure.subplots()
        top = np.percentile(samples, 99)
        axes.hist(np.clip(samples, 0, top), bins=40, color=LEARNED_COLOURS[0], alpha=0.85)
        axes.axvline(float(np.median(samples)), color=INK, linewidth=1)
        axes.set_yticks([])
        axes.spines['left'].set_visible(False)
        axes.set_xlabel(label)
        return _svg(figure)


def _grid(axes: Axes, axis: str) -> None:
    axes.grid(axis=axis, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[['left', 'bottom']].set_visible(False)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format='svg', metadata={'Date': None}, transparent=True)
    document = text.getvalue()
    return document[document.index('<svg') :]

"""The drawings of the pages Detector and Robots, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from mtopt_core.data_growth import TaskGrowth
from mtopt_web.detector_versions import TaskCard

SIDE = 260
"""Side of the calibration curve's square, px."""
ROW = 22
"""Height of a task's bars, px."""
WIDTH = 420
"""Width of the bars' area, px."""
NAMES = 130
"""Width of the tasks' names, px."""
GROWTH_SIZE = (240, 64)
"""Width and height of a task's panel, px."""
GROWTH_POINTS = 60
GROWTH = {
    'success, learned policy': '#1a7f4b',
    'success, script': '#8fd0af',
    'failure, learned policy': '#8d98a6',
    'failure, script': '#d5dae2',
}
"""Colour of each band, from the bottom."""


def calibration_curve(curves: Sequence[tuple[str, TaskCard]]) -> str:
    """Draw calibration curves: how often what is said with a probability is true.

    Args:
        curves: Version and card, the one that is looked at first.
    """
    margin, colours = 34, ('#2457c5', '#b26a00')
    parts = [
        _head(SIDE + 2 * margin, SIDE + 2 * margin, 'Calibration curve'),
        f'<rect x="{margin}" y="{margin}" width="{SIDE}" height="{SIDE}" fill="#fff" stroke="#d5dae2"/>',
        f'<line x1="{margin}" y1="{margin + SIDE}" x2="{margin + SIDE}" y2="{margin}" stroke="#9aa3b2"/>',
    ]
    for (name, card), colour in zip(curves, colours, strict=False):
        points = [(margin + SIDE * p, margin + SIDE * (1 - share), n) for p, share, n in card.curve]
        line = ' '.join(f'{x:.1f},{y:.1f}' for x, y, _ in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(f"{name}: {n} episodes")}</title>'
            '</circle>'
            for x, y, n in points
        ]
    parts.append(
        f'<text x="{margin + SIDE / 2}" y="{SIDE + 2 * margin - 8}" text-anchor="middle">p(success) said</text>'
        f'<text x="12" y="{margin + SIDE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {margin + SIDE / 2})">share of successes</text></svg>'
    )
    return ''.join(parts)


def label_counts(cards: dict[str, TaskCard]) -> str:
    """Draw how many labels each task has, success and failure (paper Fig. 14)."""
    most = max([card.successes + card.failures for card in cards.values()] or [1]) or 1
    height = ROW * len(cards)
    parts = [_head(NAMES + WIDTH + 110, height, 'Labels of each task')]
    for row, (task, card) in enumerate(cards.items()):
        y, good, bad = ROW * row, WIDTH * card.successes / most, WIDTH * card.failures / most
        parts.append(
            f'<text x="{NAMES - 8}" y="{y + 15}" text-anchor="end">{escape(task)}</text>'
            f'<rect x="{NAMES}" y="{y + 3}" width="{good:.1f}" height="{ROW - 6}" fill="#1a7f4b"/>'
            f'<rect x="{NAMES + good:.1f}" y="{y + 3}" width="{bad:.1f}" height="{ROW - 6}" fill="#b3261e"/>'
            f'<text x="{NAMES + good + bad + 6:.1f}" y="{y + 15}">{card.successes} / {card.failures}</text>'
        )
    return ''.join([*parts, '</svg>'])


def growth_panel(task: TaskGrowth) -> str:
    """Draw how one task's data grew: successes at the bottom, failures on top, of learned policies and of scripts."""
    bands = (task.learned_successes, task.other_successes, task.learned_failures, task.other_failures)
    at = np.unique(np.linspace(0, len(bands[0]) - 1, GROWTH_POINTS).astype(int))
    levels = np.cumsum(np.stack([np.zeros(len(at), int), *(band[at] for band in bands)]), axis=0)
    width, height = GROWTH_SIZE
    xs = at / max(1, at[-1]) * width
    ys = height - levels / max(1, levels[-1, -1]) * height
    parts = [_head(width, height, f'Data of {escape(task.task)}')]
    for (name, colour), low, high in zip(GROWTH.items(), ys[:-1], ys[1:], strict=True):
        there, back = (
            ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
            for points in (zip(xs, high, strict=True), zip(xs[::-1], low[::-1], strict=True))
        )
        parts.append(f'<polygon points="{there} {back}" fill="{colour}"><title>{name}</title></polygon>')
    return ''.join([*parts, '</svg>'])


def _head(width: int, height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{title}" font-size="12" '
        'font-family="system-ui">'
    )

"""One frame of an episode's video: two views with what CEM tried, the discrete choices, Q over the episode."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

from mtopt_bringup.canvas import Canvas, Colour
from mtopt_bringup.film_moment import Decision, Frame, Iteration, View
from mtopt_core.episode import Source
from mtopt_policy.action_space import Choice, choice_of

WIDTH, HEIGHT = 1280, 720
VIEW = 464
"""Side of a view, px."""

MARGIN, TOP, SIDE = 16, 68, 984
BACKGROUND, PANEL, RULE = (18, 23, 29), (28, 35, 43), (58, 68, 79)
INK, QUIET = (236, 240, 244), (139, 150, 162)
SUCCESS, FAILURE, ACCENT = (46, 184, 126), (224, 82, 74), (255, 255, 255)
DISTANCE_SHOWN = 0.05
"""Shortest displacement written down, cm."""
SOURCES = {
    Source.SCRIPTED: 'by the script',
    Source.LEARNED: 'at random',
    Source.ENDING: 'scripted ending',
    Source.REFLEX: 'reflex',
}
_COLOURS = (mpl.colormaps['plasma'](np.linspace(0.08, 1, 256))[:, :3] * 255).round().astype(int)


def draw(frame: Frame) -> np.ndarray:
    """Draw a frame, `(HEIGHT, WIDTH, 3) uint8`, RGB."""
    canvas = Canvas(np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8))
    _draw_header(canvas, frame)
    for column, view in enumerate(frame.views):
        left = MARGIN + column * (VIEW + MARGIN)
        canvas.paste(_with_decision(view, frame), left, TOP)
    _draw_decision(canvas, frame)
    _draw_curve(canvas, frame)
    return canvas.finished()


def colours_of(q: np.ndarray, q_range: tuple[float, float]) -> list[Colour]:
    """Return a colour for every Q: dark for the lowest of a range, bright for the highest."""
    low, high = q_range
    places = np.clip((q - low) / max(high - low, 1e-6), 0, 1) * (len(_COLOURS) - 1)
    return [tuple(colour) for colour in _COLOURS[places.astype(int)].tolist()]


def _draw_header(canvas: Canvas, frame: Frame) -> None:
    titles = frame.titles
    canvas.text((MARGIN, 36), titles.task, 26, INK, bold=True)
    canvas.text((MARGIN, 57), titles.policy, 13, QUIET)
    canvas.text((MARGIN + 2 * VIEW + MARGIN, 57), titles.episode, 13, QUIET, 'rs')
    if frame.success is not None:
        text, colour = ('SUCCESS', SUCCESS) if frame.success else ('FAILURE', FAILURE)
        canvas.box(SIDE, 18, WIDTH - MARGIN, 54, colour)
        canvas.text(((SIDE + WIDTH - MARGIN) / 2, 43), text, 18, ACCENT, 'ms', bold=True)


def _with_decision(view: View, frame: Frame) -> np.ndarray:
    """Return a view with its name, the samples shown, and the action as an arrow."""
    canvas = Canvas(view.picture)
    decision = frame.decisions[-1] if frame.decisions else None
    if decision is not None and frame.searching is not None:
        _draw_samples(canvas, view, decision.iterations[frame.searching], decision.q_range)
    elif decision is not None and frame.success is None:
        _draw_action(canvas, view, decision)
    canvas.box(0, VIEW - 26, 14 + 9 * len(view.camera), VIEW, BACKGROUND)
    canvas.text((8, VIEW - 8), view.camera, 14, INK)
    return canvas.finished()


def _draw_samples(canvas: Canvas, view: View, iteration: Iteration, q_range: tuple[float, float]) -> None:
    places = view.viewpoint.project(iteration.targets) * VIEW
    colours = colours_of(iteration.q, q_range)
    # The best come last, on top.
    for index in np.argsort(iteration.q):
        if np.isfinite(places[index]).all():
            canvas.dot(places[index], 6.5, BACKGROUND)
            canvas.dot(places[index], 5, colours[index])


def _draw_action(canvas: Canvas, view: View, decision: Decision) -> None:
    start, end = view.viewpoint.project(np.stack([decision.tip, decision.tip + decision.action.displacement])) * VIEW
    if not np.isfinite([start, end]).all():
        return
    for colour, width, head in ((BACKGROUND, 8, 22), (ACCENT, 4, 18)):
        canvas.arrow(start, end, colour, width, head)
    if choice_of(decision.action) is not Choice.MOVE:
        canvas.dot(start, 15, BACKGROUND, 6)
        canvas.dot(start, 15, ACCENT, 3)


def _draw_decision(canvas: Canvas, frame: Frame) -> None:
    """Draw the column beside the views: which step, the scale of the colours, the choices, the action."""
    canvas.box(SIDE, TOP, WIDTH - MARGIN, TOP + VIEW, PANEL)
    left, right, y = SIDE + 16, WIDTH - MARGIN - 16, TOP
    canvas.text((left, y + 36), f'step {len(frame.decisions)}', 22, INK, bold=True)
    canvas.text((right, y + 36), f'of at most {frame.titles.max_steps}', 13, QUIET, 'rs')
    if not frame.decisions:
        return
    decision = frame.decisions[-1]
    state = (
        'acting' if frame.searching is None else f'CEM, iteration {frame.searching + 1} of {len(decision.iterations)}'
    )
    canvas.text((left, y + 62), 'done' if frame.success is not None else state, 14, QUIET)
    if decision.iterations:
        _draw_scale(canvas, decision, left, right, y + 96)
        shown = decision.iterations[-1 if frame.searching is None else frame.searching]
        _draw_choices(canvas, shown, decision.q_range, left, right, y + 176)
    if frame.searching is None:
        _draw_words(canvas, decision, left, y + 384)


def _draw_scale(canvas: Canvas, decision: Decision, left: float, right: float, y: float) -> None:
    low, high = decision.q_range
    for x, colour in enumerate(colours_of(np.linspace(0, 1, int(right - left)), (0, 1))):
        canvas.line([(left + x, y), (left + x, y + 10)], colour)
    canvas.text((left, y + 28), f'Q {low:.2f}', 13, QUIET)
    canvas.text((right, y + 28), f'{high:.2f}', 13, QUIET, 'rs')
    canvas.text(((left + right) / 2, y + 28), 'of the samples', 13, QUIET, 'ms')


def _draw_choices(
    canvas: Canvas, iteration: Iteration, q_range: tuple[float, float], left: float, right: float, y: float
) -> None:
    """Draw how CEM's samples are shared between the discrete choices, and the best Q of each."""
    canvas.text((left, y), 'choice', 13, QUIET)
    canvas.text((left + 190, y), 'samples', 13, QUIET, 'rs')
    canvas.text((right, y), 'best Q', 13, QUIET, 'rs')
    for row, choice in enumerate(Choice):
        mine = iteration.choices == choice
        line, middle = y + 30 + 38 * row, left + 82
        tried = bool(mine.any())
        canvas.text((left, line), choice.name.lower(), 15, INK if tried else RULE)
        canvas.box(middle, line - 11, middle + 108, line, RULE)
        if tried:
            best = float(iteration.q[mine].max())
            (colour,) = colours_of(np.array([best]), q_range)
            canvas.box(middle, line - 11, middle + 108 * float(mine.mean()), line, colour)
            canvas.text((right, line), f'{best:.2f}', 15, INK, 'rs')


def _draw_words(canvas: Canvas, decision: Decision, left: float, y: float) -> None:
    """Write the action down."""
    action = decision.action
    distance, turn = 100 * float(np.linalg.norm(action.displacement)), round(np.rad2deg(action.yaw_change))
    moves = distance >= DISTANCE_SHOWN or turn != 0
    canvas.text((left, y), choice_of(action).name.lower(), 20, ACCENT, bold=True)
    canvas.text((left, y + 26), f'by {distance:.1f} cm, turn {turn:+d}°' if moves else 'in place', 14, INK)
    said = f'Q {action.q_value:.2f}' if np.isfinite(action.q_value) else SOURCES[action.source]
    canvas.text((left, y + 50), said, 14, QUIET)


def _draw_curve(canvas: Canvas, frame: Frame) -> None:
    """Draw Q of the actions over the episode, and how far Q of everything tried reached."""
    left, right, top, bottom = MARGIN, WIDTH - MARGIN, TOP + VIEW + MARGIN, HEIGHT - MARGIN
    first, last, high, low = left + 48, right - 16, top + 36, bottom - 30
    canvas.box(left, top, right, bottom, PANEL)
    canvas.text((left + 16, top + 23), 'Q of the actions taken; bars: of everything tried', 13, QUIET)
    for share in (0.0, 0.5, 1.0):
        y = low + share * (high - low)
        canvas.line([(first, y), (last, y)], RULE)
        canvas.text((first - 8, y + 5), f'{share:g}', 12, QUIET, 'rs')
    # A scripted ending may go beyond the limit.
    steps = max(frame.titles.max_steps, len(frame.decisions))
    pitch = (last - first) / steps
    for step in range(steps):
        canvas.text((first + (step + 0.5) * pitch, bottom - 10), str(step + 1), 12, QUIET, 'ms')
    places = []
    for step, decision in enumerate(frame.decisions):
        x, q = first + (step + 0.5) * pitch, decision.action.q_value
        if decision.iterations:
            canvas.line([(x, low + share * (high - low)) for share in decision.q_range], RULE, 7)
        undecided = frame.searching is not None and step == len(frame.decisions) - 1
        if np.isfinite(q) and not undecided:
            places.append((x, low + q * (high - low)))
    canvas.line(places, ACCENT, 2)
    for place in places:
        canvas.dot(place, 5, ACCENT)

"""The page Review: what to label next, and the training that makes use of it."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from nicegui import ui

from mtopt_core.errors import MtoptError
from mtopt_web.board_work import BoardWork
from mtopt_web.detector_versions import DetectorVersion, read_versions
from mtopt_web.frame import complain, tell
from mtopt_web.page import Page, Visit
from mtopt_web.retraining import Progress, Retraining
from mtopt_web.review import review_queue
from mtopt_web.site import Site

LOOK_PERIOD = 0.5  # s
STEPS = 400
"""Gradient steps of a training from the page, as the field says at first."""

_trainings: WeakKeyDictionary[Site, Retraining] = WeakKeyDictionary()
"""The training of each site: everybody sees the same."""


class ReviewPage:
    """One person's visit of the page."""

    _task: ui.select
    _steps: ui.number
    _train: ui.button
    _stop: ui.button
    _bar: ui.linear_progress
    _told: ui.label
    _work: BoardWork

    def __init__(self, visit: Visit) -> None:
        self._visit, self._site = visit, visit.site
        self._training = _trainings.setdefault(visit.site, Retraining(visit.site))
        self._seen: Progress | None = None
        self._asked = 0

    async def build(self) -> None:
        """Fill the page."""
        with ui.row().classes('filters'):
            names = list(self._site.tasks.names)
            self._task = ui.select(names, value=names[0], label='Task', on_change=self._ask).classes('filter-task')
            self._task.props('dense outlined options-dense')
            ui.button('Ask again', on_click=self._ask).props('flat').classes('ask-again')
            ui.space()
            self._steps = ui.number('Steps', value=STEPS, min=1, max=100_000, precision=0).classes('training-steps')
            self._steps.props('dense outlined')
            self._train = ui.button('Train', on_click=self._start).classes('train')
            self._stop = ui.button('Stop', on_click=self._training.stop).props('flat').classes('stop-training')
        self._bar = ui.linear_progress(0, show_value=False).props('aria-label=Training').classes('training-bar')
        self._told = ui.label().classes('training-told').props('role=status')
        self._work = BoardWork(self._visit)
        await self._ask()
        self._look()
        self._work.follow()
        ui.timer(LOOK_PERIOD, self._look)

    async def _ask(self, *_event: Any) -> None:
        self._asked += 1
        asked = self._asked
        try:
            queue = await asyncio.to_thread(review_queue, self._site, self._task.value)
        except MtoptError as error:
            complain(error)
            return
        # A queue that took longer than the one asked for after it comes too late.
        if asked == self._asked:
            await self._work.lay(queue.episodes, queue.why)

    def _start(self) -> None:
        try:
            self._training.start(int(self._steps.value or STEPS))
        except MtoptError as error:
            complain(error)

    def _look(self) -> None:
        progress, before = self._training.progress, self._seen
        if progress == before:
            return
        self._seen = progress
        self._bar.value = progress.done / progress.steps
        self._bar.set_visibility(progress.running)
        self._train.set_enabled(not progress.running)
        self._stop.set_visibility(progress.running)
        if progress.running:
            self._told.text = f'Training: {progress.done} of {progress.steps} steps'
        elif progress.trouble:
            self._told.text = f'Nothing was trained: {progress.trouble}'
        elif progress.version:
            self._told.text = _difference(read_versions(self._site.checkpoints, self._site.tasks)[0], progress.version)
        if before is not None and before.running and not progress.running and progress.version:
            tell('The training is over. “Ask again” asks what the new version finds hard.')


def _difference(versions: list[DetectorVersion], name: str) -> str:
    """Tell what a version is better and worse at than the one it went on from."""
    by_name = {version.name: version for version in versions}
    after = by_name.get(name)
    if after is None:
        return f'{name} was trained; its checkpoint is gone.'
    told = [f'{name}, from {after.episodes} labelled episodes']
    before = by_name.get(after.started_from)
    for field, title in (('precision', 'precision'), ('recall', 'recall'), ('false_positives', 'false positives')):
        now, then = _mean(after, field), _mean(before, field)
        if now is not None:
            told.append(f'{title} {100 * now:.1f} %' + ('' if then is None else f' (was {100 * then:.1f} %)'))
    return '; '.join(told) + ', means over the tasks with test episodes. More on the page Detector.'


def _mean(version: DetectorVersion | None, field: str) -> float | None:
    shares = [] if version is None else [getattr(card, field) for card in version.cards.values()]
    values = [value for value in shares if value is not None]
    return sum(values) / len(values) if values else None


async def _build(visit: Visit) -> None:
    await ReviewPage(visit).build()


PAGE = Page('Review', '/review', 30, _build)

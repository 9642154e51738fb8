"""The page Show: people show the cameras what success is and what failure is, in pairs."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from mtopt_core.episode import Verdict
from mtopt_core.errors import MtoptError
from mtopt_web.demonstrations import Demonstration, Pair, Shown, count_shown, discard
from mtopt_web.frame import complain, tell
from mtopt_web.live_views import LiveViews
from mtopt_web.page import Page, Visit

LOOK_PERIOD = 0.5  # s
_OTHER = {Verdict.SUCCESS: Verdict.FAILURE, Verdict.FAILURE: Verdict.SUCCESS}


class ShowPage:
    """One person's visit of the page."""

    _task: ui.select
    _robot: ui.select
    _ask: ui.label
    _views: LiveViews
    _table: ui.table

    def __init__(self, visit: Visit) -> None:
        self._site, self._who = visit.site, visit.who
        self._pair = Pair()
        self._running: Demonstration | None = None
        self._last: tuple[str, list[str]] = '', []
        self._shown: dict[str, Shown] = {}

    async def build(self) -> None:
        """Fill the page."""
        with ui.row().classes('filters'):
            names = list(self._site.tasks.names)
            self._task = ui.select(names, value=names[0], label='Task', on_change=self._next).classes('filter-task')
            self._robot = ui.select([], label='Robot', on_change=self._next).classes('filter-robot')
            for select in (self._task, self._robot):
                select.props('dense outlined options-dense')
            self._ask = ui.label().classes('show-ask').props('role=status')
        self._views = LiveViews(self._press, self._release, self._next, self._discard)
        columns = [
            {'name': name, 'label': label, 'field': name, 'align': 'left' if name == 'task' else 'right'}
            for name, label in (('task', 'task'), ('success', 'success'), ('failure', 'failure'), ('pairs', 'pairs'))
        ]
        self._table = ui.table(columns=columns, rows=[], row_key='task', title='Frames shown').props('dense flat')
        self._table.classes('show-counts')
        await self._count()
        self._look()
        ui.timer(LOOK_PERIOD, self._look)
        ui.context.client.on_disconnect(self._release)

    def _look(self) -> None:
        """Follow which robots there are, and how the demonstration goes."""
        robots = list(self._site.cameras.robots)
        if robots != self._robot.options:
            kept = self._robot.value if self._robot.value in robots else next(iter(robots), None)
            self._robot.set_options(robots, value=kept)
        self._views.show(self._robot.value or '', bool(robots), self._wanted())
        running = self._running
        if running is not None:
            self._ask.text = running.trouble or f'{len(running.stored)} frames stored'
        elif not robots:
            'No cameras are to be seen. Start `mtopt run`, a simulator or `mtopt replay BAG`, and they show.'
        else:
            self._ask.text = self._sentence()

    def _sentence(self) -> str:
        task, wanted = self._task.value, self._wanted()
        pairs = self._shown[task].pairs if task in self._shown else 0
        if wanted is None:
            return 'The pair is complete. Change the light, the objects or the background, then press “Next pair”.'
        if not self._pair.first:
            return f'Pair {pairs + 1} of {task}: show success, or failure, and hold the button meanwhile.'
        what = 'success' if wanted is Verdict.SUCCESS else 'failure, or a near miss'
        return f'Now {what}, with the same light and the same objects.'

    def _wanted(self) -> Verdict | None:
        given = [verdict for verdict in _OTHER if self._pair.frames[verdict]]
        return Verdict.SUCCESS if not given else None if len(given) == len(_OTHER) else _OTHER[given[0]]

    async def _press(self, verdict: Verdict) -> None:
        if self._running is None and self._robot.value:
            task = self._site.tasks[self._task.value]
            self._running = Demonstration(self._site, self._robot.value, task, verdict, self._who, self._pair)

    async def _release(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        await asyncio.to_thread(running.release)
        self._last = self._task.value, running.stored
        if running.trouble:
            complain(MtoptError(running.trouble))
        await self._count()

    async def _next(self, *_event: Any) -> None:
        await self._release()
        self._pair = Pair()

    async def _discard(self) -> None:
        await self._release()
        task, frames = self._last
        if not frames:
            tell('There is nothing to discard.')
            return
        try:
            await asyncio.to_thread(discard, self._site, task, frames, self._who)
        except MtoptError as error:
            complain(error)
            return
        self._last = '', []
        for verdict, stored in self._pair.frames.items():
            self._pair.frames[verdict] = [one for one in stored if one not in frames]
        tell(f'The labels of {len(frames)} frames were taken back.')
        await self._count()

    async def _count(self) -> None:
        try:
            self._shown = await asyncio.to_thread(count_shown, self._site)
        except MtoptError as error:
            complain(error)
            return
        self._table.rows = [
            {
                'task': task,
                'success': shown.frames[Verdict.SUCCESS],
                'failure': shown.frames[Verdict.FAILURE],
                'pairs': shown.pairs,
            }
            for task in self._site.tasks.names
            if (shown := self._shown.get(task))
        ]


async def _build(visit: Visit) -> None:
    await ShowPage(visit).build()


PAGE = Page('Show', '/show', 10, _build)

"""The page Label: final images of episodes, and what people say of them."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from nicegui import ui

from mtopt_core.configuration import CAMERAS, MAIN
from mtopt_core.episode_search import OWN_TASK, EpisodeFilter, Judged
from mtopt_web.board_work import BoardWork
from mtopt_web.page import Page, Visit

EVERY = ''
"""Choice of a filter that leaves nothing out."""


class LabelPage:
    """One person's visit of the page."""

    _work: BoardWork
    _place: ui.label

    def __init__(self, visit: Visit) -> None:
        self._visit, self._site = visit, visit.site
        self._choices: dict[str, Any] = {}

    async def build(self) -> None:
        """Fill the page."""
        choices = await asyncio.to_thread(self._site.search.choices)
        with ui.row().classes('filters'):
            tasks = {OWN_TASK: 'the task each attempted', **{name: name for name in self._site.tasks.names}}
            self._choose('judged', 'Judge', tasks, OWN_TASK)
            self._choose('task', 'Attempted', {EVERY: 'any', **{name: name for name in self._site.tasks.names}}, EVERY)
            self._choose('robot', 'Robot', {EVERY: 'all', **{name: name for name in choices.robots}}, EVERY)
            self._choose('policy', 'Policy', {EVERY: 'all', **{name: name for name in choices.policies}}, EVERY)
            self._choose('verdict', 'Verdict', {one.value: one.value for one in Judged}, Judged.ANY.value)
            for name, title in (('first', 'From'), ('last', 'To')):
                day = ui.input(title, on_change=self._reopen).props('type=date dense outlined stack-label')
                self._choices[name] = day.classes(f'filter-{name}')
            camera = ui.select(list(CAMERAS), value=MAIN, label='View', on_change=self._show_camera)
            camera.props('dense outlined')
            ui.switch('Detector', on_change=lambda event: self._work.board.show_opinions(event.value)).tooltip(
                'Show what the detector says. It may sway you.'
            )
            with ui.row().classes('pager'):
                ui.button('◀', on_click=lambda: self._work.turn(False)).props('flat dense').tooltip('Page up')
                self._place = ui.label().classes('place')
                ui.button('▶', on_click=lambda: self._work.turn(True)).props('flat dense').tooltip('Page down')
        self._work = BoardWork(self._visit, lambda place: setattr(self._place, 'text', place))
        await self._work.open(EpisodeFilter())
        self._work.follow()

    def _choose(self, name: str, title: str, options: dict[str, str], value: str) -> None:
        select = ui.select(options, value=value, label=title, on_change=self._reopen)
        self._choices[name] = select.props('dense outlined options-dense').classes(f'filter-{name}')

    def _filter(self) -> EpisodeFilter:
        chosen = {name: element.value for name, element in self._choices.items()}
        return EpisodeFilter(
            judged_task=chosen['judged'],
            # Judged for another task than its own, an episode of another skill shows nothing of it.
            skill=self._site.tasks[chosen['judged']].skill if chosen['judged'] else None,
            task=chosen['task'] or None,
            robot=chosen['robot'] or None,
            policy=chosen['policy'] or None,
            first_day=_day(chosen['first']),
            last_day=_day(chosen['last']),
            judged=Judged(chosen['verdict']),
        )

    async def _reopen(self) -> None:
        await self._work.open(self._filter())

    async def _show_camera(self, event: Any) -> None:
        self._work.camera = event.value
        await self._work.show()


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or '')
    except ValueError:
        return None


async def _build(visit: Visit) -> None:
    await LabelPage(visit).build()


PAGE = Page('Label', '/label', 20, _build)

"""The page Label: final images of episodes, and what people say of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

from nicegui import ui

from mtopt_core.configuration import CAMERAS, MAIN
from mtopt_core.episode import Verdict
from mtopt_core.episode_search import OWN_TASK, EpisodeFilter, FoundEpisode, Judged
from mtopt_core.errors import MtoptError
from mtopt_core.human_labels import LabelConflictError
from mtopt_web.frame import complain, tell
from mtopt_web.label_board import LabelBoard, cell_of
from mtopt_web.label_desk import LabelDesk
from mtopt_web.page import Page, Visit

LOOK_PERIOD = 1.0
"""s between two looks at what others labelled."""
EVERY = ''
"""Choice of a filter that leaves nothing out."""


class LabelPage:
    """One person's visit of the page."""

    _board: LabelBoard
    _place: ui.label

    def __init__(self, visit: Visit) -> None:
        self._site = visit.site
        self._desk = LabelDesk(visit.site, visit.who)
        self._owner = uuid.uuid4().hex
        self._seen = 0
        self._camera = MAIN
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
            ui.switch('Detector', on_change=lambda event: self._board.show_opinions(event.value)).tooltip(
                'Show what the detector says. It may sway you.'
            )
            with ui.row().classes('pager'):
                ui.button('◀', on_click=lambda: self._turn(False)).props('flat dense').tooltip('Page up')
                self._place = ui.label().classes('place')
                ui.button('▶', on_click=lambda: self._turn(True)).props('flat dense').tooltip('Page down')
        self._board = LabelBoard(self._say, self._undo, self._turn, self._look)
        await self._open(EpisodeFilter())
        self._seen = await asyncio.to_thread(self._site.labels.last_grading)
        ui.timer(LOOK_PERIOD, self._follow)
        ui.context.client.on_disconnect(lambda: self._site.claims.release(self._owner))

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
        await self._open(self._filter())

    async def _open(self, wanted: EpisodeFilter) -> None:
        if await self._tried(partial(self._desk.open, wanted)):
            await self._show()

    async def _show(self, last: bool = False) -> None:
        page = self._desk.page
        ids = [episode.episode_id for episode in page.episodes]
        thumbnails = await asyncio.to_thread(self._site.thumbnails.get, ids, self._camera)
        self._board.show([cell_of(episode, thumbnails[episode.episode_id]) for episode in page.episodes], last)
        first = page.before + bool(ids)
        self._place.text = f'{first:,}–{page.before + len(ids):,} of {page.total:,}'

    async def _show_camera(self, event: Any) -> None:
        self._camera = event.value
        await self._show()

    async def _turn(self, forward: bool) -> None:
        turned: list[bool] = []
        if await self._tried(lambda: turned.append(self._desk.turn(forward))) and turned[0]:
            await self._show(last=not forward)
        else:
            self._board.run_method('stay')
            tell('This is the last page.' if forward else 'This is the first page.')

    async def _say(self, episode_id: str, verdict: Verdict) -> None:
        try:
            self._board.change([await asyncio.to_thread(self._desk.say, episode_id, verdict)])
        except MtoptError as error:
            if isinstance(error, LabelConflictError):
                self._board.change(self._desk.page.episodes)
            complain(error)
            self._board.settle(episode_id, str(error))
        else:
            self._board.settle(episode_id)

    async def _undo(self) -> None:
        try:
            episode = await asyncio.to_thread(self._desk.undo)
        except MtoptError as error:
            self._board.change(self._desk.page.episodes)
            complain(error)
            return
        if episode is None:
            tell('There is nothing to undo.')
            return
        self._board.change([episode])
        self._board.run_method('show', episode.episode_id)
        tell(f'Undone: {episode.judged_task} in {episode.episode_id} is {_said(episode)} again.')

    async def _look(self, episode_id: str) -> None:
        """Claim what is looked at by itself; tell when somebody else does."""
        if not self._site.claims.claim(episode_id, self._owner):
            self._board.run_method('pass_over', episode_id)

    async def _follow(self) -> None:
        """Show what others labelled meanwhile."""
        try:
            newest = await asyncio.to_thread(self._site.labels.last_grading)
            if newest != self._seen:
                self._seen = newest
                ids = [episode.episode_id for episode in self._desk.page.episodes]
                self._board.change(await asyncio.to_thread(self._desk.refresh, ids))
        except MtoptError:
            # Whoever labels is told; a look now and then need not be.
            return

    async def _tried(self, action: Callable[[], object]) -> bool:
        try:
            await asyncio.to_thread(action)
        except MtoptError as error:
            complain(error)
            return False
        return True


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or '')
    except ValueError:
        return None


def _said(episode: FoundEpisode) -> str:
    return 'not labelled' if episode.label is None else episode.label.verdict.name.lower()


async def _build(visit: Visit) -> None:
    await LabelPage(visit).build()


PAGE = Page('Label', '/label', 20, _build)

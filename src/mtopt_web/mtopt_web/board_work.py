"""One person's work on a board: what is said there is stored, undone, and followed while others label too."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from functools import partial

from nicegui import ui

from mtopt_core.configuration import MAIN
from mtopt_core.episode import Verdict
from mtopt_core.episode_search import EpisodeFilter, FoundEpisode
from mtopt_core.errors import MtoptError
from mtopt_core.human_labels import LabelConflictError
from mtopt_web.frame import complain, tell
from mtopt_web.label_board import LabelBoard, cell_of
from mtopt_web.label_desk import LabelDesk
from mtopt_web.page import Visit

LOOK_PERIOD = 1.0
"""s between two looks at what others labelled."""


class BoardWork:
    """A board, what lies on it, and what comes of it.

    Attributes:
        board: What is seen of it.
        camera: Whose pictures the grid shows.
    """

    def __init__(self, visit: Visit, on_shown: Callable[[str], None] = lambda _place: None) -> None:
        """Put an empty board on the page.

        Args:
            visit: Whose work it is.
            on_shown: Told which episodes are shown, of how many, whenever that changes.
        """
        self.camera = MAIN
        self._site = visit.site
        self._desk = LabelDesk(visit.site, visit.who)
        self._owner = uuid.uuid4().hex
        self._on_shown = on_shown
        self._seen = 0
        # What is asked for last is what lies on the board in the end.
        self._in_order = asyncio.Lock()
        self._why: Mapping[str, str] = {}
        self.board = LabelBoard(self._say, self._undo, self.turn, self._look)
        ui.context.client.on_disconnect(lambda: self._site.claims.release(self._owner))

    def follow(self) -> None:
        """Show from now on what others label; not before the page is filled, for a timer has it delivered."""
        ui.timer(LOOK_PERIOD, self._follow)

    async def open(self, wanted: EpisodeFilter) -> None:
        """Show the newest episodes of a filter."""
        async with self._in_order:
            self._why = {}
            if await self._tried(partial(self._desk.open, wanted)):
                await self._show()

    async def lay(self, episodes: tuple[FoundEpisode, ...], why: Mapping[str, str]) -> None:
        """Show chosen episodes.

        Args:
            episodes: In their order.
            why: Why each of them is shown, by its id.
        """
        async with self._in_order:
            self._why = why
            self._desk.lay(episodes)
            await self._show()

    async def show(self) -> None:
        """Show what lies on the board, by the present camera."""
        async with self._in_order:
            await self._show()

    async def _show(self, last: bool = False) -> None:
        """Show what lies on the board, beginning with its first or its last episode."""
        page = self._desk.page
        ids = [episode.episode_id for episode in page.episodes]
        thumbnails = await asyncio.to_thread(self._site.thumbnails.get, ids, self.camera)
        cells = [
            cell_of(episode, thumbnails[episode.episode_id], self._why.get(episode.episode_id, ''))
            for episode in page.episodes
        ]
        self.board.show(cells, last)
        self._on_shown(f'{page.before + bool(ids):,}–{page.before + len(ids):,} of {page.total:,}')

    async def turn(self, forward: bool) -> None:
        """Show the next page, or the one before."""
        turned: list[bool] = []
        async with self._in_order:
            if await self._tried(lambda: turned.append(self._desk.turn(forward))) and turned[0]:
                await self._show(last=not forward)
                return
        self.board.run_method('stay')
        tell('This is the last page.' if forward else 'This is the first page.')

    async def _say(self, episode_id: str, verdict: Verdict) -> None:
        try:
            self.board.change([await asyncio.to_thread(self._desk.say, episode_id, verdict)])
        except MtoptError as error:
            if isinstance(error, LabelConflictError):
                self.board.change(self._desk.page.episodes)
            complain(error)
            self.board.settle(episode_id, str(error))
        else:
            self.board.settle(episode_id)

    async def _undo(self) -> None:
        try:
            episode = await asyncio.to_thread(self._desk.undo)
        except MtoptError as error:
            self.board.change(self._desk.page.episodes)
            complain(error)
            return
        if episode is None:
            tell('There is nothing to undo.')
            return
        self.board.change([episode])
        self.board.run_method('show', episode.episode_id)
        tell(f'Undone: {episode.judged_task} in {episode.episode_id} is {_said(episode)} again.')

    async def _look(self, episode_id: str) -> None:
        """Claim what is looked at by itself; tell when somebody else does."""
        if not self._site.claims.claim(episode_id, self._owner):
            self.board.run_method('pass_over', episode_id)

    async def _follow(self) -> None:
        """Show what others labelled meanwhile."""
        try:
            newest = await asyncio.to_thread(self._site.labels.last_grading)
            if newest != self._seen:
                self._seen = newest
                ids = [episode.episode_id for episode in self._desk.page.episodes]
                self.board.change(await asyncio.to_thread(self._desk.refresh, ids))
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


def _said(episode: FoundEpisode) -> str:
    return 'not labelled' if episode.label is None else episode.label.verdict.name.lower()

"""The board on which episodes are judged, as an element of a page; what it does in the browser is in its script."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from mtopt_core.configuration import DETECTOR_CAMERAS, MAIN
from mtopt_core.episode import Verdict
from mtopt_core.episode_search import FoundEpisode
from mtopt_web.thumbnails import Thumbnail

Said = Callable[[str, Verdict], Awaitable[None]]


class LabelBoard(Element, component='static/label_board.js'):
    """A grid of final images, or one episode at a time."""

    def __init__(
        self,
        on_say: Said,
        on_undo: Callable[[], Awaitable[None]],
        on_turn: Callable[[bool], Awaitable[None]],
        on_look: Callable[[str], Awaitable[None]],
    ) -> None:
        """Make an empty board.

        Args:
            on_say: Given the episode and what the person says of it.
            on_undo: The person takes the last label back.
            on_turn: The person wants the next page (true) or the one before.
            on_look: Given the episode that is looked at by itself.
        """
        super().__init__()
        self._props.update(
            cells=[], views=list(DETECTOR_CAMERAS), loopView=MAIN, opinions=False, serial=0, start='first'
        )

        async def said(event: GenericEventArguments) -> None:
            await on_say(str(event.args['id']), Verdict[str(event.args['verdict']).upper()])

        async def undone(_event: GenericEventArguments) -> None:
            await on_undo()

        async def turned(event: GenericEventArguments) -> None:
            await on_turn(bool(event.args['forward']))

        async def looked(event: GenericEventArguments) -> None:
            await on_look(str(event.args['id']))

        self.on('say', said)
        self.on('undo', undone)
        self.on('turn', turned)
        self.on('look', looked)

    def show(self, cells: Sequence[Mapping[str, Any]], last: bool = False) -> None:
        """Show other episodes.

        Args:
            cells: Of `cell_of`.
            last: Begin at the last of them.
        """
        self._props.update(cells=list(cells), serial=self._props['serial'] + 1, start='last' if last else 'first')
        self.update()

    def change(self, episodes: Sequence[FoundEpisode]) -> None:
        """Show what is said of some of the episodes now."""
        by_key = {(episode.episode_id, episode.judged_task): _label(episode) for episode in episodes}
        cells = [
            {**cell, 'label': by_key.get((cell['id'], cell['task']), cell['label'])} for cell in self._props['cells']
        ]
        if cells != self._props['cells']:
            self._props['cells'] = cells
            self.update()

    def settle(self, episode_id: str, trouble: str = '') -> None:
        """Tell that a label is stored, or why it is not."""
        self.run_method('settle', episode_id, trouble)

    def show_opinions(self, shown: bool) -> None:
        """Show, or hide, what the detector says."""
        self._props['opinions'] = shown
        self.update()


def cell_of(episode: FoundEpisode, thumbnail: Thumbnail, why: str = '') -> dict[str, Any]:
    """Return what the board shows of an episode.

    Args:
        episode: The episode.
        thumbnail: Its picture in the grid, sent with the page.
        why: Why it is shown, empty for no reason.
    """
    picture = base64.b64encode(thumbnail.jpeg).decode()
    facts = (
        f'{episode.episode_id}, attempted {episode.task}, {episode.policy}, {episode.steps} steps, '
        f'ended by {episode.termination.name.lower().replace("_", " ")}'
    )
    detected = episode.detected
    return {
        'id': episode.episode_id,
        'task': episode.judged_task,
        'facts': facts,
        'why': why,
        'label': _label(episode),
        'detected': detected
        and {'verdict': detected.verdict.name.lower(), 'probability': round(detected.probability, 4)},
        'src': f'data:image/jpeg;base64,{picture}' if picture else '',
        'trouble': thumbnail.trouble,
    }


def _label(episode: FoundEpisode) -> dict[str, str] | None:
    label = episode.label
    return None if label is None else {'verdict': label.verdict.name.lower(), 'who': label.who}

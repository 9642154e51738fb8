"""The live pictures with their two buttons, as an element of a page; what it does in the browser is in its script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from mtopt_core.configuration import CAMERAS
from mtopt_core.episode import Verdict

Act = Callable[[], Awaitable[None]]


class LiveViews(Element, component='static/live_views.js'):
    """A robot's cameras, and what is held."""

    def __init__(
        self, on_press: Callable[[Verdict], Awaitable[None]], on_release: Act, on_next: Act, on_discard: Act
    ) -> None:
        """Show nothing yet.

        Args:
            on_press: A button goes down; given what is shown.
            on_release: It is let go.
            on_next: The person changed the scene.
            on_discard: The person takes the last frames back.
        """
        super().__init__()
        self._props.update(robot='', cameras=list(CAMERAS), ready=False, wanted='')

        async def pressed(event: GenericEventArguments) -> None:
            await on_press(Verdict[str(event.args['verdict']).upper()])

        def forward(act: Act) -> Callable[[], Awaitable[None]]:
            async def acted() -> None:
                await act()

            return acted

        self.on('press', pressed)
        self.on('release', forward(on_release), [])
        self.on('next', forward(on_next), [])
        self.on('discard', forward(on_discard), [])

    def show(self, robot: str, ready: bool, wanted: Verdict | None) -> None:
        """Show a robot.

        Args:
            robot: Its name, empty for none.
            ready: Whether the buttons work.
            wanted: Which of them is asked for, None for neither.
        """
        shown = {'robot': robot, 'ready': ready, 'wanted': '' if wanted is None else wanted.name.lower()}
        if any(self._props[name] != value for name, value in shown.items()):
            self._props.update(shown)
            self.update()

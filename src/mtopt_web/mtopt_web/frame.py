"""What surrounds every page: the navigation, the person's name, and what is wrong with new bags."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from mtopt_web import visitor
from mtopt_web.page import Page, Visit

TROUBLE_PERIOD = 5.0  # s


def frame(visit: Visit, current: Page, pages: Sequence[Page]) -> Callable[[], None]:
    """Put the navigation above a page.

    Returns:
        What is to be called now and then, to tell what is wrong with new bags.
    """
    with ui.header().classes('site-header'):
        ui.label('mtopt').classes('site-name')
        with ui.element('nav').classes('site-navigation'):
            for page in pages:
                link = ui.link(page.title, page.path)
                if page is current:
                    link.classes('current').props('aria-current=page')
        ui.link(visit.who, f'{visitor.PATH}?next={current.path}').classes('site-person').tooltip('Not you? Click here.')
    trouble = ui.label().classes('site-trouble').props('role=alert')

    def look() -> None:
        trouble.text = visit.site.trouble
        trouble.set_visibility(bool(visit.site.trouble))

    look()
    return look


def tell(text: str) -> None:
    """Show a sentence for a moment, where it covers no button."""
    ui.notify(text, position='bottom')


def complain(error: Exception) -> None:
    """Show what went wrong, long enough to be read."""
    ui.notify(str(error), type='negative', position='bottom', multi_line=True, timeout=8000, close_button=True)

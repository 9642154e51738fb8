"""What a page is. A package adds one by an entry point of group `mtopt.pages`: `name = module:PAGE`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from starlette.requests import Request

from mtopt_core.errors import MtoptError

if TYPE_CHECKING:
    from mtopt_web.site import Site

GROUP = 'mtopt.pages'


class PageLoadError(MtoptError):
    """A page is installed and cannot be imported."""


@dataclass(frozen=True)
class Visit:
    """Somebody who looks at a page.

    Attributes:
        site: What all pages share.
        who: Name of the person.
        request: The request for the page.
    """

    site: Site
    who: str
    request: Request


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        title: Its name in the navigation.
        path: Its address, with the leading slash.
        order: Its place in the navigation; the one with the smallest is the start page.
        build: Fills the page for a visit.
    """

    title: str
    path: str
    order: int
    build: Callable[[Visit], Awaitable[None]]


def load_pages() -> tuple[Page, ...]:
    """Return all installed pages in the order of the navigation.

    Raises:
        PageLoadError: One cannot be imported.
    """
    pages = []
    for entry in entry_points(group=GROUP):
        try:
            pages.append(entry.load())
        except Exception as error:
            raise PageLoadError(
                f'page {entry.name} cannot be loaded from {entry.value}: {type(error).__name__}: {error}; '
                '`make setup` builds the workspace again'
            ) from error
    return tuple(sorted(pages, key=lambda page: page.order))

"""The web server: one application of all installed pages, on the loopback interface."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from nicegui import ui
from starlette.requests import Request

from mtopt_core.errors import MtoptError
from mtopt_web import visitor
from mtopt_web.access import KEY, Access
from mtopt_web.frame import TROUBLE_PERIOD, frame
from mtopt_web.page import Page, Visit
from mtopt_web.pictures import picture_routes
from mtopt_web.robot_routes import robot_routes
from mtopt_web.site import Site

HOST = '127.0.0.1'
STOP_TIMEOUT = 2
"""s that browsers are given to hang up."""
PAGE_TIMEOUT = 60.0
"""s that filling a page may take: the first pictures of a folder are made while it is waited for."""


class PortError(MtoptError):
    """The port cannot be had."""


class _Server(uvicorn.Server):
    """A server that says when it works."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()


def serve(site: Site, pages: Sequence[Page], port: int, told: Callable[[str], None]) -> None:
    """Serve the pages until SIGINT or SIGTERM.

    Args:
        site: What they show.
        pages: In the order of the navigation.
        port: TCP port; 0 takes a free one.
        told: Given the link to open, once it works.

    Raises:
        PortError: The port is taken or may not be used.
    """
    listener = _listen(port)
    port = listener.getsockname()[1]
    access = Access(_application(site, pages), port)
    # NiceGUI looks at every object there is for its server, and torch warns of being looked at.
    warnings.filterwarnings('ignore', '`torch.distributed', FutureWarning)
    config = uvicorn.Config(access, log_level='warning', timeout_graceful_shutdown=STOP_TIMEOUT)
    link = f'http://{HOST}:{port}/?{KEY}={access.key}'
    # uvicorn has ended everything in order by then, and raises Ctrl-C once more.
    with listener, suppress(KeyboardInterrupt):
        _Server(config, lambda: told(link)).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortError(
            f'port {port} cannot be used: {error.strerror}; another one: `--port 0` takes a free one'
        ) from None
    return listener


def _application(site: Site, pages: Sequence[Page]) -> FastAPI:
    application = FastAPI(openapi_url=None)
    application.include_router(picture_routes(site))
    application.include_router(robot_routes(site))
    paths = frozenset(page.path for page in pages)

    @application.get('/')
    def start() -> Response:
        return RedirectResponse(pages[0].path)

    @application.get(visitor.PATH)
    def who(request: Request) -> Response:
        return visitor.ask(request)

    @application.post(visitor.PATH)
    async def introduce(request: Request) -> Response:
        return await visitor.answer(request, paths)

    ui.add_css((Path(__file__).parent / 'static' / 'site.css').read_text(), shared=True)
    for page in pages:
        _add(page, site, pages)
    # The classes of Tailwind are not used; without it a page opens in half the time.
    ui.run_with(application, title='mtopt', tailwind=False, show_welcome_message=False)
    return application


def _add(page: Page, site: Site, pages: Sequence[Page]) -> None:
    @ui.page(page.path, title=f'{page.title} · mtopt', response_timeout=PAGE_TIMEOUT)
    async def show(request: Request) -> Response | None:
        who = visitor.name_of(request)
        if not who:
            return RedirectResponse(f'{visitor.PATH}?next={page.path}')
        visit = Visit(site, who, request)
        look = frame(visit, page, pages)
        await page.build(visit)
        # A timer that starts earlier has the page delivered half built.
        ui.timer(TROUBLE_PERIOD, look)
        return None

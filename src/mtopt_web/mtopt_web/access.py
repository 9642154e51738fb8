"""Who may talk to the page: whoever opened the printed link, from a page of ours, on this machine.

The page listens on the loopback interface only, but every web site open in a browser on this machine could reach it
there. So every request needs the key of the printed link, once, and from then on the cookie given for it; a `Host` that
is not this machine (DNS rebinding) and an `Origin` that is not this page are refused, web sockets included.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlencode, urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset({'127.0.0.1', 'localhost', '::1'})
KEY = 'key'
_REFUSED = 1008
"""Close code of a web socket: policy violated."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mtopt</title>
<body style="font: 18px/1.5 system-ui, sans-serif; max-width: 34em; margin: 15vh auto">
<h1 style="font-size: 1.3em">{title}</h1><p>{text}</p></body></html>"""
_HEADERS = (
    (b'x-frame-options', b'DENY'),
    (b'x-content-type-options', b'nosniff'),
    (b'referrer-policy', b'same-origin'),
)


class Access:
    """Lets through to an application who may pass.

    Attributes:
        app: The application; the server looks for it under this name.
        key: What the printed link ends with.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.key = secrets.token_urlsafe(24)
        # Cookies do not know ports: pages of two data folders must not take each other's.
        self._cookie = f'mtopt-{port}'
        self._sessions: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        answer = self._answer(HTTPConnection(scope))
        if answer is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope['type'] == 'websocket':
            await receive()
            await send({'type': 'websocket.close', 'code': _REFUSED})
        else:
            await answer(scope, receive, send)

    def _answer(self, connection: HTTPConnection) -> Response | None:
        """Return what to answer in the application's place, None to let the request through."""
        host = connection.headers.get('host', '')
        if _name_of(host) not in LOCAL_NAMES:
            return _refusal('This address is not known here', 'Open the link that <code>mtopt web</code> printed.')
        origin = connection.headers.get('origin')
        if origin is not None and origin not in (f'http://{host}', f'https://{host}'):
            return _refusal('Not from another site', 'A page of another site asked for this. It was refused.')
        if KEY in connection.query_params and connection.scope['type'] == 'http':
            return self._enter(connection)
        if connection.cookies.get(self._cookie, '') in self._sessions:
            return None
        return _refusal(
            'The key is missing', 'Open the link that <code>mtopt web</code> printed, with all that follows “key”.'
        )

    def _enter(self, connection: HTTPConnection) -> Response:
        """Give a cookie for the right key, and send the browser on to the address without it."""
        given = connection.query_params[KEY]
        if not secrets.compare_digest(given.encode(), self.key.encode()):
            return _refusal(
                'This key is of another start', 'Each start of <code>mtopt web</code> prints a link of its own.'
            )
        session = secrets.token_urlsafe(24)
        self._sessions.add(session)
        rest = urlencode([pair for pair in connection.query_params.multi_items() if pair[0] != KEY])
        # One slash, for `//elsewhere` is the address of another site.
        path = '/' + connection.url.path.lstrip('/')
        answer = RedirectResponse(f'{path}?{rest}' if rest else path, 303)
        answer.set_cookie(self._cookie, session, httponly=True, samesite='lax')
        return answer


def _name_of(host: str) -> str:
    try:
        return urlsplit(f'//{host}').hostname or ''
    except ValueError:
        return ''


def _refusal(title: str, text: str) -> Response:
    return HTMLResponse(_PAGE.format(title=title, text=text), 403)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message['type'] == 'http.response.start':
            message['headers'] = [*message['headers'], *_HEADERS]
        await send(message)

    return sending

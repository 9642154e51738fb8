"""The person's name: asked for once, kept in a cookie, written beside every label."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

PATH = '/who'
LONGEST = 40
_COOKIE = 'mtopt-who'
_YEAR = 365 * 24 * 3600

_FORM = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mtopt</title>
<body style="font: 18px/1.5 system-ui, sans-serif; max-width: 28em; margin: 15vh auto">
<form method="post" action="{action}"><h1 style="font-size: 1.3em">Who are you?</h1>
<p>Your name is written beside every label you give, so that questions find the right person.</p>
<p style="color: #b3261e" id="trouble">{trouble}</p>
<input name="who" value="{who}" maxlength="{longest}" autofocus autocomplete="name" aria-label="Your name"
 style="font: inherit; padding: .4em .6em; width: 14em">
<button style="font: inherit; padding: .4em 1em">Go on</button></form></body></html>"""


def name_of(request: Request) -> str:
    """Return the visitor's name, empty when it was not given yet."""
    return _checked(unquote(request.cookies.get(_COOKIE, '')))


def ask(request: Request, trouble: str = '') -> Response:
    """Return the form that asks for the name; `next` in the query says where to go on."""
    form = _FORM.format(
        action=escape(f'{PATH}?next={quote(request.query_params.get("next", "/"))}'),
        who=escape(name_of(request)),
        trouble=escape(trouble),
        longest=LONGEST,
    )
    return HTMLResponse(form, 422 if trouble else 200)


async def answer(request: Request, known: frozenset[str]) -> Response:
    """Take the name in and go on.

    Args:
        request: The filled form.
        known: Paths that may be gone on to; anything else leads to the start page.
    """
    async with request.form(max_files=0, max_fields=10) as form:
        who = _checked(str(form.get('who', '')))
    if not who:
        return ask(request, f'Please give a name of 1 to {LONGEST} characters.')
    wanted = request.query_params.get('next', '/')
    response = RedirectResponse(wanted if wanted in known else '/', 303)
    response.set_cookie(_COOKIE, quote(who), max_age=_YEAR, httponly=True, samesite='lax')
    return response


def _checked(name: str) -> str:
    """Return a name without surrounding space; nothing when it cannot be one."""
    name = ' '.join(name.split())
    return name if len(name) <= LONGEST and name.isprintable() else ''

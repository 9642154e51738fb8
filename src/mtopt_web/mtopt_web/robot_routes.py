"""The addresses behind the page Robots: what the robots say, what they are told, and what was collected."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from mtopt_core.cadence import Cadence, by_robot, read_cadence, summarise
from mtopt_core.data_growth import growth
from mtopt_core.errors import MtoptError
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.verdict_query import NOT_JUDGED
from mtopt_web.drawings import growth_panel
from mtopt_web.robot_watch import CommandError
from mtopt_web.site import Site

COLLECTED_PERIOD = 10.0
"""s for which what was collected is not looked up again."""


class Collected:
    """What a data folder holds, summed up for the page, not more often than every few seconds."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._made = -COLLECTED_PERIOD
        self._told: dict[str, Any] = {}
        self._looking = threading.Lock()

    def told(self) -> dict[str, Any]:
        """Return the growth of the data and the cadence of every robot.

        Raises:
            MtoptError: An index is damaged.
        """
        # Those who ask meanwhile wait for the one look.
        with self._looking:
            if time.monotonic() - self._made > COLLECTED_PERIOD:
                self._told = self._look()
                self._made = time.monotonic()
            return self._told

    def _look(self) -> dict[str, Any]:
        site = self._site
        rows = site.episodes()
        # On a connection of its own: whoever labels must not wait for this.
        with closing(LabelStore(site.data)) as labels:
            ids = [row.episode_id for row in rows]
            verdicts = labels.counting_verdicts(ids, site.tasks.names)
            if (verdicts == NOT_JUDGED).all():
                verdicts = labels.counting_verdicts(ids, site.tasks.names, [SIMULATOR])
        panels = [
            {
                'task': one.task,
                'attempts': one.attempts,
                'successes': int(one.successes[-1]) if rows else 0,
                'failures': int(one.failures[-1]) if rows else 0,
                'panel': growth_panel(one) if rows else '',
            }
            for one in growth(rows, verdicts, site.tasks)
        ]
        return {
            'episodes': len(rows),
            'growth': panels,
            'cadence': {one.name: _short(one) for one in summarise(read_cadence(site.data), by_robot)},
        }


def _short(cadence: Cadence) -> dict[str, Any]:
    return {name: value for name, value in asdict(cadence).items() if name != 'step_times'}


def robot_routes(site: Site) -> APIRouter:
    """Return the routes.

    `/robots/now` is what every robot does, `/robots/collected` what came of it. `/robots/<robot>/help/<number>` is a
    picture that came with a call for a person. A POST to `/robots/<robot>/<word>` tells its collector that word.
    """
    router = APIRouter()
    collected = Collected(site)

    @router.get('/robots/now')
    def now() -> Response:
        practice = [
            {'robot': robot, 'tasks': [asdict(one) for one in tasks]} for robot, tasks in site.robots.practice().items()
        ]
        return _fresh({'robots': site.robots.told(), 'practice': practice})

    @router.get('/robots/collected')
    def what_was_collected() -> Response:
        try:
            return _fresh(collected.told())
        except MtoptError as error:
            return JSONResponse({'detail': str(error)}, 500)

    @router.get('/robots/{robot}/help/{number}')
    def help_picture(robot: str, number: int) -> Response:
        picture = site.robots.help_picture(robot, number)
        if picture is None:
            return JSONResponse({'detail': f'there is no picture {number} of a call of {robot!r}'}, 404)
        return Response(picture, media_type='image/jpeg', headers={'cache-control': 'no-store'})

    @router.post('/robots/{robot}/{word}')
    def tell(robot: str, word: str) -> Response:
        try:
            return _fresh({'answer': site.robots.tell(robot, word)})
        except CommandError as error:
            return JSONResponse({'detail': str(error)}, 409)

    return router


def _fresh(told: dict[str, Any]) -> Response:
    return JSONResponse(told, headers={'cache-control': 'no-store'})

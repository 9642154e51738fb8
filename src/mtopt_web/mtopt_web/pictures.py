"""The addresses of pictures: the end of an episode, camera by camera, at the recorded size."""

from __future__ import annotations

import base64

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mtopt_core.episode_pictures import EpisodePictures
from mtopt_core.errors import BagError
from mtopt_web.site import Site

FOREVER = 'private, max-age=86400, immutable'
"""Bags do not change, so neither do their pictures."""


def picture_routes(site: Site) -> APIRouter:
    """Return the routes.

    `/pictures/<episode>` tells how many pictures of its end each camera has, `/pictures/<episode>/<camera>/<number>`
    is one of them, counted from the final one, 0. `/live/<robot>` are the newest pictures of its cameras, of those that
    have another number than the query says.
    """
    router = APIRouter()

    def found(episode_id: str) -> EpisodePictures:
        # Only what is in the catalogue is looked for on the disk, so that no address can name another file.
        if not site.search.find([episode_id], ''):
            raise BagError(f'there is no episode {episode_id!r}')
        return site.pictures(episode_id)

    @router.get('/pictures/{episode_id}')
    def counts(episode_id: str) -> Response:
        try:
            pictures = found(episode_id)
        except BagError as error:
            return _missing(str(error))
        return JSONResponse({camera: len(jpegs) for camera, jpegs in pictures.by_camera.items()})

    @router.get('/pictures/{episode_id}/{camera}/{number}')
    def picture(episode_id: str, camera: str, number: int) -> Response:
        try:
            jpegs = found(episode_id).by_camera.get(camera, ())
        except BagError as error:
            return _missing(str(error))
        if not 0 <= number < len(jpegs):
            return _missing(f'episode {episode_id} has {len(jpegs)} pictures of camera {camera!r}')
        return Response(jpegs[-1 - number], media_type='image/jpeg', headers={'cache-control': FOREVER})

    @router.get('/live/{robot}')
    def live(robot: str, request: Request) -> Response:
        if robot not in site.cameras.robots:
            return _missing(
                f'no cameras of {robot!r} can be seen; there are {", ".join(site.cameras.robots) or "none"}'
            )
        newest = site.cameras.watch(robot)
        other = {
            camera: {
                'number': one.number,
                'picture': f'data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}',
            }
            for camera, one in newest.items()
            if request.query_params.get(camera) != str(one.number)
        }
        return JSONResponse(other, headers={'cache-control': 'no-store'})

    return router


def _missing(why: str) -> Response:
    return JSONResponse({'detail': why}, 404)

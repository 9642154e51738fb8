"""What a detector sees of an episode's final images: whole pictures, and for some skills a rectified part of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mtopt_core.errors import ImageError
from mtopt_core.images import crop_resize, decode_at_least
from mtopt_core.regions import Regions, rectify, side_needed


@dataclass(frozen=True)
class Looks:
    """The ways to look at an episode's end: the whole picture is the first, every region is one more.

    Attributes:
        views: Names of the cameras, in the order of the images.
        image_size: Side of the square images, px.
        regions: Corners by skill and camera.
    """

    views: tuple[str, ...]
    image_size: int
    regions: Regions

    @property
    def shape(self) -> tuple[int, int]:
        """Number of looks and of views."""
        return 1 + len(self.regions), len(self.views)

    @property
    def key(self) -> str:
        """A name for images of just these looks."""
        key = f'{"+".join(self.views)}_{self.image_size}'
        if not self.regions:
            return key
        digest = hashlib.sha256(json.dumps(self.regions, sort_keys=True).encode()).hexdigest()
        return f'{key}_{"+".join(self.regions)}_{digest[:8]}'

    def of(self, jpegs: Mapping[str, bytes]) -> list[list[np.ndarray | None]]:
        """Return an episode's images, `L` lists of `V` `(S, S, 3) uint8`, None for a camera that is missing.

        Raises:
            ImageError: An image is damaged; the message names the camera.
        """
        by_view = [self._of_view(view, jpegs[view]) if view in jpegs else [None] * self.shape[0] for view in self.views]
        return [list(look) for look in zip(*by_view, strict=True)]

    def _of_view(self, view: str, jpeg: bytes) -> list[np.ndarray | None]:
        size, parts = self.image_size, [by_camera.get(view) for by_camera in self.regions.values()]
        try:
            rgb = decode_at_least(jpeg, max([size, *(side_needed(corners, size) for corners in parts if corners)]))
        except ImageError as error:
            raise ImageError(f'final image of camera {view}: {error}') from None
        return [crop_resize(rgb, size), *(corners and rectify(rgb, corners, size) for corners in parts)]

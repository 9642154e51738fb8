"""An episode's pictures for people: the final ones of every camera, and the last second before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtopt_core.bag import BagReader
from mtopt_core.episode_bag import recorded_cameras
from mtopt_core.errors import BagError
from mtopt_core.message_types import header_stamp, image_data

FEWEST = 3
"""Pictures of a loop where the last second holds fewer: a simulator that stands still between two steps shows few."""


@dataclass(frozen=True)
class EpisodePictures:
    """JPEGs by camera, oldest first; the last one is the final one."""

    by_camera: Mapping[str, tuple[bytes, ...]]

    @property
    def final(self) -> dict[str, bytes]:
        """The final JPEG of each camera."""
        return {camera: jpegs[-1] for camera, jpegs in self.by_camera.items()}


def read_pictures(path: Path, seconds: float = 1.0) -> EpisodePictures:
    """Read the pictures of an episode's end.

    Args:
        path: The bag.
        seconds: How much of the end, s; at least `FEWEST` pictures where there are as many.

    Raises:
        BagError: The bag is missing, truncated, damaged or not of mtopt.
    """
    with BagReader(path) as bag:
        cameras = recorded_cameras(bag)
        serialised: dict[str, dict[int, bytes]] = {camera: {} for camera in cameras.values()}
        try:
            for message in bag.messages(cameras):
                serialised[cameras[message.topic]][header_stamp(message.cdr)] = message.cdr
            last = max((stamp for found in serialised.values() for stamp in found), default=0)
            by_camera = {}
            for camera, found in serialised.items():
                stamps = sorted(found)
                shown = [stamp for stamp in stamps if stamp >= last - seconds * 1e9]
                shown = max(shown, stamps[-FEWEST:], key=len)
                if shown:
                    by_camera[camera] = tuple(image_data(found[stamp]) for stamp in shown)
        except ValueError as error:
            raise BagError(f'bag {path}: {error}') from None
    return EpisodePictures(by_camera)

"""A picture to draw on: smooth lines and dots by OpenCV, text by Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Place = Sequence[float] | np.ndarray
"""x and y, px."""

# OpenCV takes coordinates as integers; these are the binary digits behind the point.
_DIGITS = 4


class Canvas:
    """Draws on a copy of a picture, `(height, width, 3) uint8`, RGB. Places are `(x, y)`, px from the upper left."""

    def __init__(self, picture: np.ndarray) -> None:
        self._pixels = picture.copy()
        self._texts: list[tuple[Place, str, int, Colour, str, bool]] = []

    def text(
        self, place: Place, text: str, size: int, colour: Colour, anchor: str = 'ls', *, bold: bool = False
    ) -> None:
        """Write text, above everything drawn; `anchor` as Pillow has it: `l`, `m` or `r`, and `s` for the baseline."""
        self._texts.append((place, text, size, colour, anchor, bold))

    def paste(self, picture: np.ndarray, left: int, top: int) -> None:
        """Put a picture `(h, w, 3) uint8` down."""
        height, width = picture.shape[:2]
        self._pixels[top : top + height, left : left + width] = picture

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill a rectangle."""
        corners = _fixed((left, top)), _fixed((right, bottom))
        cv2.rectangle(self._pixels, *corners, colour, cv2.FILLED, cv2.LINE_AA, _DIGITS)

    def line(self, places: Iterable[Place], colour: Colour, width: int = 1) -> None:
        """Draw a line through places."""
        points = np.array([_fixed(place) for place in places], np.int32).reshape(-1, 1, 2)
        cv2.polylines(self._pixels, [points], False, colour, width, cv2.LINE_AA, _DIGITS)

    def dot(self, place: Place, radius: float, colour: Colour, width: int = cv2.FILLED) -> None:
        """Draw a dot, or a ring of a width."""
        cv2.circle(self._pixels, _fixed(place), round(radius * 2**_DIGITS), colour, width, cv2.LINE_AA, _DIGITS)

    def arrow(self, start: Place, end: Place, colour: Colour, width: int, head: float) -> None:
        """Draw an arrow with a head of a length, px; none where it would be shorter than a pixel."""
        way = np.subtract(end, start)
        length = float(np.hypot(*way))
        if length < 1:
            return
        along = way / length * min(head, 0.6 * length)
        across = np.array([-along[1], along[0]]) * 0.55
        base = np.array(end) - along
        self.line([start, base], colour, width)
        corners = np.array([_fixed(corner) for corner in (end, base + across, base - across)], np.int32)
        cv2.fillConvexPoly(self._pixels, corners, colour, cv2.LINE_AA, _DIGITS)

    def finished(self) -> np.ndarray:
        """Return the picture, `(height, width, 3) uint8`, RGB."""
        image = Image.fromarray(self._pixels)
        pen = ImageDraw.Draw(image)
        for (x, y), text, size, colour, anchor, bold in self._texts:
            pen.text((x, y), text, colour, _font(size, bold), anchor)
        return np.asarray(image)


def _fixed(place: Place) -> tuple[int, int]:
    x, y = place
    return round(x * 2**_DIGITS), round(y * 2**_DIGITS)


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib: which fonts a machine has cannot be known."""
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(Path(mpl.get_data_path(), 'fonts', 'ttf', name), size)

"""The one way images are converted, cropped, encoded and decoded, for training and inference alike.

numpy and OpenCV alone: core imports no ROS, and what cv_bridge adds for the encodings below is the same OpenCV call.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mtopt_core.errors import ImageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Images are small and the cores are wanted by learner and simulator; OpenCV's own threads would only contend.
cv2.setNumThreads(1)

_START_OF_JPEG, _END_OF_JPEG = b'\xff\xd8', b'\xff\xd9'
# A JPEG's segments begin with a mark, kind and length; a frame header goes on with precision, height and width.
_MARK, _SEGMENT = 0xFF, struct.Struct('>BBHBHH')
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# OpenCV's flag by the factor; with a flag for colour they do not mean grey.
_REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}


@dataclass(frozen=True)
class _Encoding:
    """Bytes a pixel takes and OpenCV's conversion to RGB, None where the data is RGB already."""

    channels: int
    conversion: int | None


# OpenCV names a Bayer pattern by its second row's second pixel, ROS by its first row.
_ENCODINGS = {
    'rgb8': _Encoding(3, None),
    'bgr8': _Encoding(3, cv2.COLOR_BGR2RGB),
    'rgba8': _Encoding(4, cv2.COLOR_RGBA2RGB),
    'bgra8': _Encoding(4, cv2.COLOR_BGRA2RGB),
    'mono8': _Encoding(1, cv2.COLOR_GRAY2RGB),
    'yuv422': _Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': _Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': _Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': _Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    'bayer_rggb8': _Encoding(1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': _Encoding(1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': _Encoding(1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': _Encoding(1, cv2.COLOR_BayerGB2RGB),
}


def to_rgb(encoding: str, height: int, width: int, step: int, data: Buffer) -> np.ndarray:
    """Convert the fields of a `sensor_msgs/Image` to RGB.

    Args:
        encoding: One of rgb8, bgr8, rgba8, bgra8, mono8, yuv422 (uyvy), yuv422_yuy2 (yuyv), bayer_*8.
        height: Rows, px.
        width: Columns, px.
        step: Bytes from one row to the next; rows may be padded.
        data: The image's bytes.

    Returns:
        `(height, width, 3) uint8` RGB; a view of `data` where nothing had to be converted.

    Raises:
        ImageError: The encoding is not supported, or size, step and data do not agree.
    """
    form = _ENCODINGS.get(encoding)
    if form is None:
        raise ImageError(
            f'image encoding {encoding!r} is not supported; let the driver publish one of {", ".join(_ENCODINGS)}'
        )
    row = width * form.channels
    pixels = np.frombuffer(memoryview(data), np.uint8)
    if height < 1 or width < 1 or step < row:
        raise ImageError(f'{encoding} image of {width}x{height} px needs a step of at least {row} bytes, got {step}')
    if pixels.size < step * (height - 1) + row:
        raise ImageError(
            f'{encoding} image of {width}x{height} px with step {step} needs {step * (height - 1) + row} bytes, '
            f'got {pixels.size}'
        )
    rows = np.lib.stride_tricks.as_strided(pixels, (height, width, form.channels), (step, form.channels, 1))
    if form.conversion is None:
        return rows
    try:
        return cv2.cvtColor(np.ascontiguousarray(rows), form.conversion)
    except cv2.error as error:
        raise ImageError(f'{encoding} image of {width}x{height} px cannot be converted: {error.err}') from None


def crop_resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """Cut the centre square out of an image and resize it by area.

    Args:
        rgb: `(H, W, 3) uint8`.
        size: Side of the result, px.

    Returns:
        `(size, size, 3) uint8`, contiguous.
    """
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(rgb[top : top + side, left : left + side])
    return square if side == size else cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """Encode an image as JPEG.

    Args:
        rgb: `(H, W, 3) uint8`.
        quality: 1 to 100.

    Raises:
        ImageError: The array is not such an image.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ImageError(f'a JPEG needs an (H, W, 3) uint8 image, got {rgb.shape} {rgb.dtype}')
    _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    return jpeg.tobytes()


def write_picture(path: Path, rgb: np.ndarray) -> None:
    """Write an image for people to look at.

    Args:
        path: Ends in .png or .jpg; its folder exists.
        rgb: `(H, W, 3) uint8`.

    Raises:
        ImageError: It cannot be written there.
    """
    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise ImageError(f'{path} cannot be written: {error.err}; end it in .png or .jpg') from None
    if not written:
        raise ImageError(f'{path} cannot be written; does its folder exist?')


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG.

    Returns:
        `(H, W, 3) uint8` RGB.

    Raises:
        ImageError: The data is no JPEG, or is cut off or damaged.
    """
    return _decoded(data, 0)


def decode_at_least(data: bytes, side: int) -> np.ndarray:
    """Decode a JPEG at the smallest resolution it has that is enough, its full one where none is.

    JPEG can be decoded at a half, a quarter or an eighth of its resolution, in as little as a quarter of the time; only
    where its sides can be divided so, or pixels would lie elsewhere.

    Args:
        data: The JPEG.
        side: What the shorter side of the result must have, px.

    Returns:
        `(H, W, 3) uint8` RGB.

    Raises:
        ImageError: The data is no JPEG, or is cut off or damaged.
    """
    sides = _jpeg_size(data)
    fits = (flag for factor, flag in _REDUCTIONS.items() if all(a >= factor * side and a % factor == 0 for a in sides))
    return _decoded(data, next(fits, 0))


def decode_square(data: bytes, size: int) -> np.ndarray:
    """Decode a JPEG, cut its centre square out and resize it by area: what every network sees of an image.

    No more is decoded than is needed, see `decode_at_least`.

    Args:
        data: The JPEG.
        size: Side of the result, px.

    Returns:
        `(size, size, 3) uint8` RGB, contiguous.

    Raises:
        ImageError: The data is no JPEG, or is cut off or damaged.
    """
    return crop_resize(decode_at_least(data, size), size)


def _decoded(data: bytes, reduction: int) -> np.ndarray:
    # OpenCV fills what a cut-off JPEG lacks with grey and only warns on stderr. Some cameras pad with zeros.
    if not data.startswith(_START_OF_JPEG) or not data.rstrip(b'\0').endswith(_END_OF_JPEG):
        raise ImageError(f'{len(data)} bytes are not a complete JPEG')
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | reduction
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if rgb is None:
        raise ImageError(f'a JPEG of {len(data)} bytes is damaged')
    return rgb


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return a JPEG's height and width, px, from its frame header; zeros where there is none."""
    place = len(_START_OF_JPEG)
    while place + _SEGMENT.size <= len(data):
        mark, kind, length, _, height, width = _SEGMENT.unpack_from(data, place)
        if mark != _MARK:
            break
        if kind in _FRAME_HEADERS:
            return height, width
        place += 2 + length
    return 0, 0

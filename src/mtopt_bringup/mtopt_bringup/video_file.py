"""Videos that every browser plays: H.264 in MP4, whole or not there at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from mtopt_core.errors import MtoptError

QUALITY = 20
"""Constant rate factor of H.264: lower is better, 18 cannot be told from the original."""


class VideoError(MtoptError):
    """A video cannot be written."""


class VideoFile:
    """Writes one video under another name; `finish` gives it its own. A context manager, which drops what is not whole.

    Args:
        folder: Where, made when missing.
        name: Of the file while it is not finished.
        size: Width and height, px, both even.
        frame_rate: Frames a second.

    Raises:
        VideoError: The folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, size: tuple[int, int], frame_rate: int) -> None:
        self._partial = folder / f'.{name}.partial'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The index goes to the front, so that a browser can start before it has all of the file.
            self._container = av.open(self._partial, 'w', format='mp4', options={'movflags': 'faststart'})
        except OSError as error:
            raise self._cannot_write(error) from None
        self._stream = self._container.add_stream(
            'libx264', frame_rate, options={'crf': str(QUALITY), 'preset': 'veryfast'}
        )
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = 'yuv420p'
        self._stream.codec_context.thread_count = 1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is not finished is dropped; closing it may fail once more where the disk is full.
        with suppress(OSError):
            self._container.close()
        self._partial.unlink(missing_ok=True)

    def add(self, picture: np.ndarray, repeat: int = 1) -> None:
        """Append a picture `(height, width, 3) uint8`, RGB, shown for a number of frames.

        Raises:
            VideoError: The disk is full or fails.
        """
        frame = av.VideoFrame.from_ndarray(picture, 'rgb24')
        try:
            for _ in range(repeat):
                frame.pts = None
                self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise self._cannot_write(error) from None

    def finish(self, name: str) -> Path:
        """Complete the video under its name, in place of one of that name, and return its path.

        Raises:
            VideoError: The disk is full or fails.
        """
        path = self._partial.with_name(name)
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._partial.rename(path)
        except OSError as error:
            raise self._cannot_write(error) from None
        return path

    def _cannot_write(self, error: OSError) -> VideoError:
        where = f'video {self._partial.name} in {self._partial.parent}'
        return VideoError(f'{where} cannot be written: {error.strerror}; make room or choose another folder')

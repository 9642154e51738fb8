"""Files that are whole or as they were before, whatever is cut off while they are written."""

from __future__ import annotations

import os
from pathlib import Path

from mtopt_core.rosbag2_directory import sync_folder


def write_whole(path: Path, text: str) -> None:
    """Write a text file, its folder made when missing: under another name, synced, renamed.

    Raises:
        OSError: It cannot be written; a file that was there before is unharmed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with partial.open('w') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)

"""A disk that is soon full, for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str, *, held: bool = False) -> Iterator[Path]:
    """Make a folder that is a file system of some size; where that is not allowed the test is skipped.

    Args:
        folder: Where; must not exist.
        size: For instance `256k`.
        held: Whether somebody may still have a file of it open at the end.
    """
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f'a small disk cannot be mounted, which takes root: {mounted.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', *(['--lazy'] if held else []), str(folder)], check=True)

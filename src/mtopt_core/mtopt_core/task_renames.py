"""Tasks that got other names: a list beside the labels, and the change of what is stored under the old ones."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from mtopt_core.errors import LabelError


def append_rename(file: Path, old: str, new: str) -> None:
    """Write down that a task got another name, synced to the disk.

    Raises:
        LabelError: The file cannot be written.
    """
    try:
        with file.open('a') as lines:
            lines.write(json.dumps({'old': old, 'new': new}) + '\n')
            lines.flush()
            os.fsync(lines.fileno())
    except OSError as error:
        raise LabelError(f'{file} cannot be written: {error.strerror}') from None


def read_renames(file: Path) -> list[tuple[str, str]]:
    """Return old and new names in the order they were given; none where there is no file.

    Raises:
        LabelError: The file is damaged.
    """
    if not file.exists():
        return []
    try:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [(line['old'], line['new']) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise LabelError(f'{file} is damaged: {error!r}') from None


def rename_outcomes(database: sqlite3.Connection, old: str, new: str) -> int:
    """Give the outcomes of a task its new name; return how many episodes have some."""
    graded = database.execute(
        'INSERT INTO gradings (episode_id) SELECT DISTINCT episode_id FROM outcomes WHERE task = ?', (old,)
    )
    database.execute('UPDATE OR REPLACE outcomes SET task = ? WHERE task = ?', (new, old))
    return graded.rowcount

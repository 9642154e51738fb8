"""How much of the journal of people's labels is in the store, and taking in what a crash kept out of it."""

from __future__ import annotations

import sqlite3

from mtopt_core.label_journal import LabelJournal
from mtopt_core.outcome_rows import insert_gradings


def catch_up(journal: LabelJournal, database: sqlite3.Connection) -> None:
    """Take in what is in the journal and not in the store: a crash came between the two.

    Args:
        journal: Locked.
        database: In a transaction that writes.
    """
    known = database.execute('SELECT length FROM journal').fetchone()
    length = journal.length()
    start = 0 if known is None or known[0] > length else known[0]
    if start == length:
        return
    labels, _ = journal.read(start)
    insert_gradings(database, labels, 'human', '')
    taken_in(database, length)


def taken_in(database: sqlite3.Connection, length: int) -> None:
    """Note that so many bytes of the journal are in the store."""
    database.execute('INSERT OR REPLACE INTO journal VALUES (0, ?)', (length,))

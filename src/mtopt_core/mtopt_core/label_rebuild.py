"""Making the label store anew from the journal of people's labels."""

from __future__ import annotations

from contextlib import closing

from mtopt_core.label_database import is_whole
from mtopt_core.label_store import LabelStore, Restored
from mtopt_core.paths import DataFolder


def rebuild(data: DataFolder) -> Restored:
    """Restore human labels from the journal; a store that is damaged is renamed and made anew.

    Outcomes of detectors and of the simulator stay where the store is whole. In a new one they must be graded again,
    save those recorded in bags.

    Raises:
        LabelError: The folder cannot be written.
    """
    if data.labels.exists() and not is_whole(data.labels):
        damaged = data.labels.with_suffix('.damaged')
        data.labels.replace(damaged)
        for suffix in ('-wal', '-shm'):
            data.labels.with_name(data.labels.name + suffix).unlink(missing_ok=True)
    with closing(LabelStore(data)) as store:
        restored = store.restore_journal()
        store.apply_renames()
        return restored

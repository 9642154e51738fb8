"""Which episodes are trained on, which choose the thresholds, and which are held out: for ever.

What shows the same scene is split together: an episode and those that go on from it, and the frames of a recording
pair, which name the pair's first frame as the episode they go on from. The first one's id decides, so the split of what
is collected later is settled too. What decided is written down when a label enters, in case bags between two others are
deleted or older ones arrive:

    <data folder>/detector_splits.jsonl   one line per labelled episode: `{"episode_id": ..., "split": "test"}`
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from mtopt_core.catalogue import Row
from mtopt_core.paths import DataFolder


class Split(IntEnum):
    """What an episode is used for."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


def splits_of(rows: Sequence[Row]) -> dict[str, Split]:
    """Return episodes' splits by id: 80 % train, 10 % validation, 10 % test of the scenes."""
    previous = {row.episode_id: row.previous_episode_id for row in rows}
    return {row.episode_id: _split_of(_first(row.episode_id, previous)) for row in rows}


def settled_splits(data: DataFolder, rows: Sequence[Row], labelled: Iterable[str]) -> dict[str, Split]:
    """Return episodes' splits by id, and settle those of labelled ones for ever.

    Args:
        data: The folder that keeps them.
        rows: All episodes.
        labelled: Ids of those that have a label.
    """
    splits = splits_of(rows)
    data.root.mkdir(parents=True, exist_ok=True)
    with (data.root / 'detector_splits.jsonl').open('a+b') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        # A line that a crash cut off is of a training that has not begun.
        whole = file.read().rpartition(b'\n')[0]
        file.truncate(len(whole) + bool(whole))
        settled = {line['episode_id']: Split[line['split'].upper()] for line in map(json.loads, whole.splitlines())}
        splits |= {episode_id: split for episode_id, split in settled.items() if episode_id in splits}
        new = [episode_id for episode_id in labelled if episode_id not in settled]
        lines = [json.dumps({'episode_id': name, 'split': splits[name].name.lower()}) for name in new]
        file.write(b''.join(line.encode() + b'\n' for line in lines))
        file.flush()
        os.fsync(file.fileno())
    return splits


def _first(episode_id: str, previous: Mapping[str, str]) -> str:
    """Return the first episode of the chain one belongs to; its bag need not be there."""
    seen = {episode_id}
    while (before := previous.get(episode_id)) and before not in seen:
        seen.add(before)
        episode_id = before
    return episode_id


def _split_of(first: str) -> Split:
    tenth = int.from_bytes(hashlib.blake2b(first.encode(), digest_size=8).digest(), 'big') % 10
    return Split.TRAIN if tenth < 8 else Split.VALIDATION if tenth == 8 else Split.TEST

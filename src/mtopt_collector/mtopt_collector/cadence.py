"""Keeps what every episode cost: one line of JSON per episode, for the cadence report."""

from __future__ import annotations

import json
from pathlib import Path

from mtopt_collector.collection import Collected
from mtopt_core.paths import DataFolder


def cadence_file(data: DataFolder) -> Path:
    """Return the file of a data folder's cadence."""
    return data.root / 'cadence.jsonl'


def append_cadence(data: DataFolder, collected: Collected, image_age: float | None) -> None:
    """Append an episode's line.

    Args:
        data: Where.
        collected: The episode.
        image_age: s from an image's arrival to the observation that shows it, median; None where not known.
    """
    run = collected.run
    line = {
        'episode_id': collected.info.episode_id,
        'robot': collected.info.robot,
        'task': collected.info.task,
        'policy': run.policy,
        'steps': run.steps,
        'seconds': round(collected.seconds, 4),
        'steps_per_second': round(run.steps / collected.seconds, 2),
        'decision_time': round(run.decision_time, 5),
        'image_age': image_age,
        'messages': collected.recorded.messages,
        'dropped': collected.recorded.dropped,
    }
    with cadence_file(data).open('a') as file:
        file.write(json.dumps(line) + '\n')

"""Keeps what every episode cost: one line of JSON per episode, for the cadence report."""

from __future__ import annotations

import json
import os
from typing import BinaryIO

from mtopt_collector.collection import Collected
from mtopt_core.cadence import cadence_file
from mtopt_core.paths import DataFolder


def append_cadence(data: DataFolder, collected: Collected, image_age: float | None, period: float) -> None:
    """Append an episode's line, after a line break where the line before was torn.

    Args:
        data: Where.
        collected: The episode.
        period: s that a control step may take: its declared length.
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
        'late_steps': sum(seconds > period for seconds in run.step_times) if run.step_times else None,
        'slowest_step': round(max(run.step_times), 4) if run.step_times else None,
    }
    with cadence_file(data).open('a+b') as file:
        file.write(_missing_line_break(file) + json.dumps(line).encode() + b'\n')


def _missing_line_break(file: BinaryIO) -> bytes:
    """Return what must come before a new line: nothing unless a full disk or a power failure tore the last one."""
    if not file.seek(0, os.SEEK_END):
        return b''
    file.seek(-1, os.SEEK_END)
    return b'' if file.read(1) == b'\n' else b'\n'

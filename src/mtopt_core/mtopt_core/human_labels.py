"""People's labels in the store: which one counts, and changes to it that lose nobody's work.

Two people may look at one episode at the same time. Whoever changes a label says which one was on the screen; when
another one counts by now nothing is changed, and the person is told what it says.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_journal import Grading, HumanLabel

NONE_SEEN = 0
"""In a change: the person saw no label."""

_PROBABILITIES = {Verdict.FAILURE: 0.0, Verdict.SUCCESS: 1.0, Verdict.UNSURE: 0.5}

Key = tuple[str, str]
"""An episode's id and a task's name."""


@dataclass(frozen=True)
class LabelChange:
    """What a person says about one task in one episode.

    Attributes:
        episode_id: The episode.
        task: Name of the task.
        verdict: Failure, success or unsure; None takes the label back.
        who: Name of the person.
        seen: Stamp of the label that the person saw, `NONE_SEEN` for none; None when it does not matter.
    """

    episode_id: str
    task: str
    verdict: Verdict | None
    who: str
    seen: int | None = None


class LabelConflictError(LabelError):
    """Another label counts than the person saw; nothing was stored.

    Attributes:
        labels: What counts now, by episode and task; None where the label was taken back.
    """

    def __init__(self, message: str, labels: Mapping[Key, HumanLabel | None]) -> None:
        super().__init__(message)
        self.labels = labels


def read_labels(database: sqlite3.Connection, keys: Iterable[Key]) -> dict[Key, HumanLabel]:
    """Return the labels that count, of those episodes and tasks that have one."""
    found = database.execute(
        'SELECT episode_id, task, verdict, who, stamp FROM json_each(?) AS wanted JOIN outcomes '
        "ON episode_id = wanted.value ->> 0 AND task = wanted.value ->> 1 AND source = 'human' AND model_version = ''",
        (json.dumps(list(dict.fromkeys(keys))),),
    )
    return {
        (episode_id, task): HumanLabel(Verdict(verdict), who, stamp) for episode_id, task, verdict, who, stamp in found
    }


def gradings_of(changes: Sequence[LabelChange], stamp: int, counting: Mapping[Key, HumanLabel]) -> list[Grading]:
    """Return what is to be written for changes; nothing for those that would change nothing.

    Args:
        changes: What people say, no two about the same.
        stamp: Now, ns since 1970.
        counting: The labels that count until then.

    Raises:
        LabelConflictError: The person saw another label than the one that counts, and says something else.
    """
    conflicts: dict[Key, HumanLabel | None] = {}
    gradings = []
    for change in changes:
        key = change.episode_id, change.task
        before = counting.get(key)
        if change.verdict == (None if before is None else before.verdict) and (
            before is None or before.who == change.who
        ):
            continue
        if change.seen is not None and change.seen != (NONE_SEEN if before is None else before.stamp):
            conflicts[key] = before
            continue
        outcomes = (
            [] if change.verdict is None else [Outcome(change.task, change.verdict, _PROBABILITIES[change.verdict])]
        )
        withdrawn = (change.task,) if change.verdict is None else ()
        replaced = {} if before is None else {change.task: before}
        gradings.append(Grading(change.episode_id, outcomes, change.who, stamp, withdrawn, replaced))
    if conflicts:
        raise LabelConflictError(_conflict(conflicts), conflicts)
    return gradings


def _conflict(labels: Mapping[Key, HumanLabel | None]) -> str:
    (episode_id, task), label = next(iter(labels.items()))
    said = 'took the label back' if label is None else f'({label.who}) said {label.verdict.name.lower()}'
    others = f', and {len(labels) - 1} more' if len(labels) > 1 else ''
    return f'somebody {said} meanwhile: {task} in episode {episode_id}{others}; nothing was stored, look again'

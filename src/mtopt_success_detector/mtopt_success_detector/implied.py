"""What a label says beside what it says: a milk that is lifted is something lifted, and no banana.

A person is asked about one task. The task file knows how tasks relate, so one answer tells more: a task that asks for
less is solved with one that asks for more, and two that ask for different objects, or sections, exclude each other: one
object is in the hand, one was placed.
"""

from __future__ import annotations

import numpy as np

from mtopt_core.tasks import Task, TaskSet


def with_implied(outcomes: np.ndarray, tasks: TaskSet) -> np.ndarray:
    """Return outcomes with those that follow from them; what was said itself stays.

    Args:
        outcomes: `(N, T) float`, 1 for success, 0 for failure, NaN where nobody knows.
        tasks: The tasks.

    Returns:
        `(N, T) float32`, a new array.
    """
    result = outcomes.astype(np.float32)
    for known, task in enumerate(tasks.tasks):
        for other, about in enumerate(tasks.tasks):
            unknown = np.isnan(outcomes[:, other])
            if _implies(task, about):
                result[unknown & (outcomes[:, known] == 1), other] = 1
            if _implies(about, task):
                result[unknown & (outcomes[:, known] == 0), other] = 0
            if _excludes(task, about):
                result[unknown & (outcomes[:, known] == 1), other] = 0
    return result


def _implies(task: Task, other: Task) -> bool:
    """Return whether whoever solves one task has solved the other: it asks for nothing that the first does not."""
    return task.skill == other.skill and other.object in (None, task.object) and other.section in (None, task.section)


def _excludes(task: Task, other: Task) -> bool:
    objects, sections = {task.object, other.object} - {None}, {task.section, other.section} - {None}
    return task.skill == other.skill and (len(objects) > 1 or len(sections) > 1)

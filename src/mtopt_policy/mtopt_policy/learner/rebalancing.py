"""Data re-balancing (paper section IV-B): what share of a batch each task, and each outcome within it, gets.

"... re-balancing each batch both between tasks, such that the relative proportion of training data for each task is
equal, and within each task, such that the relative proportion of successful and unsuccessful examples is kept
constant." The paper does not give that proportion; one half is ours.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mtopt_policy.learner.task_buffers import FAILURE, SUCCESS


class TaskBalance(StrEnum):
    """How a batch is divided between tasks."""

    EQUAL = 'equal'
    UNIFORM = 'uniform'
    """As the data are: no re-balancing between tasks."""


class Rebalancing(BaseModel):
    """The composition of training batches.

    Attributes:
        tasks: How a batch is divided between tasks.
        success_share: Share of successes within each task; none keeps the data's own.
        terminal_share: Share of last transitions, the only ones with a reward, within each task and outcome; none
            keeps the data's own. The paper does not speak of it.
        every_task: Whether a transition is an example of every task its episode counts for, so that the batch is
            balanced by weights (`balanced_weights`); the paper's is one of the task it was drawn for. The image tower,
            most of a gradient step, then looks at an image once for all of them.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    tasks: TaskBalance = TaskBalance.EQUAL
    success_share: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    terminal_share: Annotated[float, Field(ge=0, le=1)] | None = None
    every_task: bool = False

    def shares(self, sizes: np.ndarray) -> np.ndarray:
        """Return the share of a batch by task and outcome.

        A task without data gets none, and the others share its part. Where a task has only failures, or only
        successes, these get the whole of the task's part.

        Args:
            sizes: Episodes by task and outcome, `(T, 2) int`; at least one is not zero.

        Returns:
            `(T, 2) float64`, which sum to one.
        """
        episodes = sizes.sum(axis=1)
        between = (episodes > 0).astype(float) if self.tasks == TaskBalance.EQUAL else episodes.astype(float)
        within = sizes / np.maximum(episodes, 1)[:, None]
        if self.success_share is not None:
            both = (sizes > 0).all(axis=1)
            within[both, FAILURE] = 1 - self.success_share
            within[both, SUCCESS] = self.success_share
        return between[:, None] / between.sum() * within

    def draw(self, sizes: np.ndarray, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the tasks and outcomes of a batch's transitions.

        Systematic sampling: every cell of `shares` gets its part of this very batch, to within one transition, which
        independent draws would only give on average.

        Args:
            sizes: As for `shares`.
            batch: Number of transitions `B`.
            rng: Source of the draw.

        Returns:
            Tasks (places in the one-hot) and outcomes, each `(B,) int64`.
        """
        cells = self.shares(sizes).ravel()
        positions = (np.arange(batch) + rng.random()) / batch * cells.sum()
        chosen = np.searchsorted(np.cumsum(cells), positions, side='right')
        chosen = np.minimum(chosen, np.flatnonzero(cells)[-1])
        return chosen // 2, chosen % 2


def balanced_weights(
    shares: np.ndarray, tasks: np.ndarray, successes: np.ndarray, of: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Return by how much examples must weigh so that tasks and outcomes have their shares.

    The last transitions weigh as much together as their share of the batch, and so do the others. Of either, every
    task and outcome that has examples has the part that `shares` gives it among those.

    Args:
        shares: By task and outcome, `(T, 2) float64`.
        tasks: Of the examples, `(P,) int64`.
        successes: Whether their episodes solved these, `(P,) bool`.
        of: The transitions they are of, `(P,) int64`.
        last: Whether transitions are the last of their episodes, `(B,) bool`.

    Returns:
        `(P,) float64`, which sum to one.
    """
    # Whether an example is of a last transition, its task, its outcome.
    cells = (last[of].astype(int), tasks, successes.astype(int))
    counts = np.zeros((2, *shares.shape))
    np.add.at(counts, cells, 1)
    weights = (shares / np.maximum(counts, 1))[cells]
    for part in (False, True):
        weights[last[of] == part] *= np.mean(last == part) / max(weights[last[of] == part].sum(), np.finfo(float).tiny)
    return weights / weights.sum()

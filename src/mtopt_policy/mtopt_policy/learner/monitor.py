"""Curves of a training: loss, TD error, Q of successes and failures by task, buffer sizes, ages, where time goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from mtopt_policy.learner.batches import Batch
from mtopt_policy.learner.task_buffers import FAILURE, SUCCESS
from mtopt_policy.learner.trainer import StepResult


@dataclass(frozen=True)
class Interval:
    """Means over the steps since the last one.

    Attributes:
        loss: Mean loss.
        td_error: Mean difference of Q and its target, weighted as the loss is.
        q: Mean Q of transitions by task and outcome of their episode, `(T, 2)`; NaN where there were none.
    """

    loss: float
    td_error: float
    q: np.ndarray


class Monitor:
    """Averages what the steps found and writes it for TensorBoard.

    Args:
        folder: Where TensorBoard finds the curves.
        tasks: Task names in one-hot order.
        step: Gradient steps made before; later points of an earlier run are hidden.
    """

    def __init__(self, folder: Path, tasks: tuple[str, ...], step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step)
        self._tasks = tasks
        self._clear()

    def record(self, batch: Batch, result: StepResult) -> None:
        """Take in what a step found."""
        cells = (batch.examples.tasks, batch.successes.astype(int))
        np.add.at(self._sums, cells, result.q)
        np.add.at(self._counts, cells, 1)
        self._losses.append(result.loss)
        self._td_errors.append(batch.weights @ np.abs(result.q - batch.targets))

    def write(self, step: int, sizes: np.ndarray, figures: Mapping[str, float]) -> Interval:
        """Write the means since the last call, and begin anew.

        Args:
            step: Gradient steps made.
            sizes: Episodes in the task buffers, `(T, 2) int`.
            figures: More of the interval to write, by name.
        """
        q = np.divide(self._sums, self._counts, out=np.full_like(self._sums, np.nan), where=self._counts > 0)
        interval = Interval(float(np.mean(self._losses)), float(np.mean(self._td_errors)), q)
        self._writer.add_scalar('loss', interval.loss, step)
        self._writer.add_scalar('TD error', interval.td_error, step)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        for number, task in enumerate(self._tasks):
            for outcome, name in ((FAILURE, 'failures'), (SUCCESS, 'successes')):
                self._writer.add_scalar(f'episodes/{task}/{name}', sizes[number, outcome], step)
                if self._counts[number, outcome]:
                    self._writer.add_scalar(f'Q/{task}/{name}', q[number, outcome], step)
        self._clear()
        return interval

    def write_areas(self, step: int, areas: Mapping[str, float]) -> None:
        """Write the areas under the ROC curve of held-out episodes, by task."""
        for task, area in areas.items():
            self._writer.add_scalar(f'held-out AUC/{task}', area, step)
        self._writer.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()

    def _clear(self) -> None:
        self._losses: list[float] = []
        self._td_errors: list[float] = []
        self._sums = np.zeros((len(self._tasks), 2))
        self._counts = np.zeros((len(self._tasks), 2), np.int64)

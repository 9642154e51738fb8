"""Which task an episode of bulk data attempts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import TaskSet

UNIFORM, IMBALANCED = 'uniform', 'imbalanced'
# The paper's robots tried the two broad tasks far more often than all others together.
BROAD_WEIGHT = 8.0


@dataclass(frozen=True)
class TaskMixture:
    """Tasks and how often each is drawn.

    Attributes:
        tasks: Their names.
        shares: `(tasks,)`, probabilities that sum to one.
    """

    tasks: tuple[str, ...]
    shares: np.ndarray

    @classmethod
    def parse(cls, text: str, tasks: TaskSet) -> TaskMixture:
        """Return the mixture of a command-line value: `imbalanced`, `uniform`, or task names separated by commas.

        Raises:
            UnknownTaskError: A name is no task's.
            ConfigurationError: There is no name.
        """
        if text in (UNIFORM, IMBALANCED):
            chosen = tasks.attempted
        else:
            chosen = tuple(tasks[name.strip()] for name in text.split(',') if name.strip())
        if not chosen:
            raise ConfigurationError(f'no task in {text!r}; name some, or say {UNIFORM} or {IMBALANCED}')
        weights = np.array([BROAD_WEIGHT if text == IMBALANCED and task.broad else 1.0 for task in chosen])
        return cls(tuple(task.name for task in chosen), weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> str:
        """Draw a task."""
        return self.tasks[rng.choice(len(self.tasks), p=self.shares)]

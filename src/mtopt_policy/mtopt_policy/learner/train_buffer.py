"""The train buffer: labelled transitions waiting for the trainer (paper Fig. 11).

A label costs the image tower and a CEM search of the next state, more than a gradient step does. Each is therefore
used several times, but not for long: it was made with target networks that move on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch


@dataclass(frozen=True)
class LabelledTransitions:
    """Transitions by reference, each an example of one task or several, with its Q-targets.

    Attributes:
        rows: Rows in the episode store, `(B,) int64`.
        outcomes: What their episodes are for the tasks they are examples of, `(B, T) int8` of `Verdict`; `UNSURE` for
            the other tasks.
        targets: Q-targets, `(B, T) float32 in [0, 1]`, NaN for the other tasks.
    """

    rows: np.ndarray
    outcomes: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.rows)

    def __getitem__(self, choice: np.ndarray | slice) -> LabelledTransitions:
        """Return a choice of the transitions."""
        return LabelledTransitions(*(getattr(self, field.name)[choice] for field in fields(self)))

    def __add__(self, other: LabelledTransitions) -> LabelledTransitions:
        """Return both, one after the other."""
        return LabelledTransitions(
            *(np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self))
        )


class TrainBuffer:
    """Holds labelled transitions until they are too old.

    Args:
        age_limit: Gradient steps for which a label may be used.
    """

    def __init__(self, age_limit: int) -> None:
        self._age_limit = age_limit
        self._labelled: LabelledTransitions | None = None
        self._steps = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return the number of transitions held."""
        return len(self._steps)

    def add(self, labelled: LabelledTransitions, step: int) -> None:
        """Take in transitions labelled at a gradient step, drop those that have become too old by then."""
        steps = np.concatenate([self._steps, np.full(len(labelled), step)])
        together = labelled if self._labelled is None else self._labelled + labelled
        fresh = steps > step - self._age_limit
        self._labelled, self._steps = together[fresh], steps[fresh]

    def mean_age(self, step: int) -> float:
        """Return the mean age of the labels at a gradient step, in steps; NaN when there are none."""
        return float(np.mean(step - self._steps)) if len(self) else np.nan

    def sample(self, batch: int, rng: np.random.Generator) -> LabelledTransitions:
        """Draw transitions uniformly, none twice while there are enough.

        Raises:
            LookupError: The buffer is empty.
        """
        if self._labelled is None:
            raise LookupError('the train buffer is empty: label transitions first')
        return self._labelled[rng.choice(len(self), batch, replace=batch > len(self))]

    def state(self) -> dict[str, torch.Tensor]:
        """Return what it holds, by name; nothing when it is empty."""
        if self._labelled is None:
            return {}
        columns = vars(self._labelled) | {'steps': self._steps}
        return {name: torch.from_numpy(column) for name, column in columns.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Hold what another one held in a `state`."""
        columns = {name: tensor.numpy() for name, tensor in state.items()}
        self._steps = columns.pop('steps')
        self._labelled = LabelledTransitions(**columns)

"""From references to what the networks are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from mtopt_core.augmentation import shift
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.train_buffer import LabelledTransitions


@dataclass(frozen=True)
class States:
    """What the Q-function is given besides the action.

    Attributes:
        images: `(B, V, 3, S, S) uint8`.
        state: What is known of the robot, encoded by `encode_state`, `(B, 3) float32`.
        task: One-hot, `(B, T) float32`.
    """

    images: torch.Tensor
    state: torch.Tensor
    task: torch.Tensor

    def to(self, device: torch.device) -> States:
        """Return the same on a device."""
        return States(*(tensor.to(device, non_blocking=True) for tensor in (self.images, self.state, self.task)))


@dataclass(frozen=True)
class UnlabelledTransitions:
    """Transitions by reference, each as an example of a task, and what their Q-targets depend on.

    Attributes:
        rows: Rows in the episode store, `(B,) int64`.
        tasks: Places in the one-hot, `(B,) int64`.
        successes: Whether the episode solved the task, `(B,) bool`.
        remaining: Decisions that followed in the episode, 0 for its last, `(B,) int32`.
        n_step: Decisions from s to s'.
        next_states: s' of those whose episode goes on that far, in their order.
        next_actions: The encoded actions taken there, `(B', 8) float32`.
    """

    rows: np.ndarray
    tasks: np.ndarray
    successes: np.ndarray
    remaining: np.ndarray
    n_step: int
    next_states: States
    next_actions: torch.Tensor

    @property
    def going_on(self) -> np.ndarray:
        """Whether the episode goes on to s', `(B,) bool`."""
        return self.remaining >= self.n_step


@dataclass(frozen=True)
class Batch:
    """What a gradient step is made of.

    Transitions that are examples of several tasks have their images once.

    Attributes:
        states: The states s and tasks T_i: U images, and `P >= U` examples of them.
        images_of: Each example's image, `(P,) int64`.
        actions: Encoded actions a, `(P, 8) float32`.
        weights: Of the examples in the loss, `(P,) float32`; they sum to one.
        labelled: The P references they were loaded from, with the Q-targets.
    """

    states: States
    images_of: torch.Tensor
    actions: torch.Tensor
    weights: torch.Tensor
    labelled: LabelledTransitions


class Loader:
    """Loads from the episode store; called from a thread beside the trainer's.

    Args:
        store: Where the transitions are.
        tasks: Length of the one-hot.
        n_step: Decisions from s to s'.
    """

    def __init__(self, store: EpisodeStore, tasks: int, n_step: int = 1) -> None:
        self._store = store
        self._tasks = tasks
        self._n_step = n_step

    def unlabelled(self, rows: np.ndarray, tasks: np.ndarray, successes: np.ndarray) -> UnlabelledTransitions:
        """Load what is needed to label transitions; arguments as the attributes of the result."""
        remaining = self._store.records(rows)['remaining']
        going_on = remaining >= self._n_step
        following = rows[going_on] + self._n_step
        next_actions = torch.from_numpy(self._store.records(following)['action'])
        next_states = self.states(following, tasks[going_on])
        return UnlabelledTransitions(rows, tasks, successes, remaining, self._n_step, next_states, next_actions)

    def states(self, rows: np.ndarray, tasks: np.ndarray) -> States:
        """Load states as they are: `(B,)` rows, each with the task it is an example of."""
        return self._states(self._store.images(rows), rows, tasks)

    def batch(
        self, labelled: LabelledTransitions, weights: np.ndarray, largest_shift: int, rng: np.random.Generator
    ) -> Batch:
        """Load transitions for a gradient step.

        Args:
            labelled: The transitions; the same row for several tasks is one image.
            weights: Their weights in the loss, `(P,) float32`.
            largest_shift: By how much an image is shifted at random at most, px.
            rng: Source of the shifts.
        """
        rows, images_of = np.unique(labelled.rows, return_inverse=True)
        images = shift(self._store.images(rows), largest_shift, rng)
        return Batch(
            states=self._states(images, labelled.rows, labelled.tasks),
            images_of=torch.from_numpy(images_of),
            actions=torch.from_numpy(self._store.records(labelled.rows)['action']),
            weights=torch.from_numpy(weights),
            labelled=labelled,
        )

    def _states(self, images: np.ndarray, rows: np.ndarray, tasks: np.ndarray) -> States:
        return States(
            # Views come first in memory: each view is then a dense channels-last batch, which convolves fastest.
            torch.from_numpy(images).permute(1, 0, 4, 2, 3),
            torch.from_numpy(self._store.records(rows)['state']),
            functional.one_hot(torch.from_numpy(tasks), self._tasks).float(),
        )

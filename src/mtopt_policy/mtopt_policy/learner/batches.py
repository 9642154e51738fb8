"""From references to what the networks are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from mtopt_core.augmentation import shift
from mtopt_core.episode import Verdict
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.rebalancing import balanced_weights
from mtopt_policy.learner.train_buffer import LabelledTransitions

FILL = 16


def filled(places: np.ndarray) -> np.ndarray:
    """Repeat the last of some places until their number is a multiple of `FILL`: `(N,)`, none stay none.

    For every size of a batch oneDNN makes convolutions of its own, and keeps a thousand of them. With a hundred sizes
    it made new ones in every step, for ever, and memory fell to pieces between them.
    """
    return np.pad(places, (0, -len(places) % FILL), 'edge') if len(places) else places


@dataclass(frozen=True)
class States:
    """What the Q-function is given besides task and action.

    Attributes:
        images: `(B, V, 3, S, S) uint8`.
        state: What is known of the robot, encoded by `encode_state`, `(B, 3) float32`.
    """

    images: torch.Tensor
    state: torch.Tensor

    def to(self, device: torch.device) -> States:
        """Return the same on a device."""
        return States(*(tensor.to(device, non_blocking=True) for tensor in (self.images, self.state)))


@dataclass(frozen=True)
class Examples:
    """States, each for a task; the same one may be an example of several.

    Attributes:
        of: Places of the states, `(P,) int64`.
        tasks: Places in the one-hot, `(P,) int64`.
        number: Of all tasks, T.
    """

    of: np.ndarray
    tasks: np.ndarray
    number: int

    @classmethod
    def among(cls, outcomes: np.ndarray) -> Examples:
        """Return those there are: outcomes `(B, T) int8` that are not `UNSURE`."""
        of, tasks = np.nonzero(outcomes != Verdict.UNSURE)
        return cls(of, tasks, outcomes.shape[1])

    def filled(self) -> Examples:
        """Return them with the last one repeated, see `filled`."""
        return Examples(filled(self.of), filled(self.tasks), self.number)

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return places of states, `(P,) int64`, and one-hot tasks, `(P, T) float32`, on a device."""
        of, tasks = (torch.from_numpy(places).to(device, non_blocking=True) for places in (self.of, self.tasks))
        return of, functional.one_hot(tasks, self.number).float()


@dataclass(frozen=True)
class UnlabelledTransitions:
    """Transitions by reference, and what their Q-targets depend on.

    Attributes:
        rows: Rows in the episode store, `(B,) int64`.
        outcomes: As in `LabelledTransitions`, `(B, T) int8`.
        remaining: Decisions that followed in the episode, 0 for its last, `(B,) int32`.
        n_step: Decisions from s to s'.
        next_states: s' of those whose episode goes on that far, in their order, `filled`.
        next_actions: The encoded actions taken there, `(B', 8) float32`.
    """

    rows: np.ndarray
    outcomes: np.ndarray
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

    Attributes:
        states: The states s.
        actions: Encoded actions a, `(B, 8) float32`.
        examples: The states and tasks T_i that are learned.
        successes: Whether the examples' episodes solved their tasks, `(P,) bool`.
        targets: Their Q-targets, `(P,) float32`.
        weights: Of the examples in the loss, `(P,) float32`, which sum to one.
        rows: Of the states in the episode store, `(B,) int64`.
    """

    states: States
    actions: torch.Tensor
    examples: Examples
    successes: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    rows: np.ndarray


class Loader:
    """Loads from the episode store; called from a thread beside the trainer's.

    Args:
        store: Where the transitions are.
        n_step: Decisions from s to s'.
    """

    def __init__(self, store: EpisodeStore, n_step: int = 1) -> None:
        self._store = store
        self._n_step = n_step

    def unlabelled(self, rows: np.ndarray, outcomes: np.ndarray) -> UnlabelledTransitions:
        """Load what is needed to label transitions; arguments as the attributes of the result."""
        remaining = self._store.records(rows)['remaining']
        following = filled(rows[remaining >= self._n_step] + self._n_step)
        next_actions = torch.from_numpy(self._store.records(following)['action'])
        return UnlabelledTransitions(rows, outcomes, remaining, self._n_step, self.states(following), next_actions)

    def states(self, rows: np.ndarray) -> States:
        """Load states as they are, of `(B,)` rows."""
        return self._states(self._store.images(rows), rows)

    def batch(
        self, labelled: LabelledTransitions, shares: np.ndarray | None, largest_shift: int, rng: np.random.Generator
    ) -> Batch:
        """Load transitions for a gradient step.

        Args:
            labelled: The transitions.
            shares: By task and outcome, `(T, 2)`: the examples weigh as much together; without, all weigh the same.
            largest_shift: By how much an image is shifted at random at most, px.
            rng: Source of the shifts.
        """
        images = shift(self._store.images(labelled.rows), largest_shift, rng)
        records = self._store.records(labelled.rows)
        examples = Examples.among(labelled.outcomes)
        chosen = examples.of, examples.tasks
        successes = labelled.outcomes[chosen] == Verdict.SUCCESS
        weights = np.full(len(examples.of), 1 / len(examples.of))
        if shares is not None:
            weights = balanced_weights(shares, examples.tasks, successes, examples.of, records['remaining'] == 0)
        return Batch(
            states=self._states(images, labelled.rows),
            actions=torch.from_numpy(records['action']),
            examples=examples,
            successes=successes,
            targets=labelled.targets[chosen],
            weights=weights.astype(np.float32),
            rows=labelled.rows,
        )

    def _states(self, images: np.ndarray, rows: np.ndarray) -> States:
        return States(
            # Views come first in memory: each view is then a dense channels-last batch, which convolves fastest.
            torch.from_numpy(images).permute(1, 0, 4, 2, 3),
            torch.from_numpy(self._store.records(rows)['state']),
        )

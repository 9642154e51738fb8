"""Last transitions as examples of every task their episode counts for.

The paper draws a transition for one task (Fig. 11). What ends an episode has its target without a search, the outcome,
and that is known of every task the episode is impersonated to (section V); as the image tower is most of a gradient
step, to learn all of it at once costs little more than to learn one. An image that shows how a grasp of a can ends then
says something of lift-can, lift-any and, as a failure, of lift-milk, which otherwise came up a few times in a batch.

Batches stay balanced by weights: all last transitions together weigh what those drawn do, and of that every task and
outcome among them has the share that re-balancing gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_policy.learner.train_buffer import LabelledTransitions


@dataclass(frozen=True)
class EveryTask:
    """What episodes are for each task.

    Attributes:
        places: Episodes, rising places in the store's index, `(N,) int64`.
        expanded: What they are for each task, `(N, T) int8` of `Verdict`; not used for it where `UNSURE`.
        shares: Of a batch, by task and outcome, `(T, 2) float64`.
    """

    places: np.ndarray
    expanded: np.ndarray
    shares: np.ndarray

    def expand(
        self, drawn: LabelledTransitions, episodes: np.ndarray, last: np.ndarray
    ) -> tuple[LabelledTransitions, np.ndarray]:
        """Add the other tasks of last transitions.

        Args:
            drawn: Transitions of a batch.
            episodes: The episodes they are of, `(B,) int64` places in the store's index.
            last: Whether each is the last of its episode, `(B,) bool`.

        Returns:
            The `P >= B` examples and their weights, `(P,) float32`, which sum to one.
        """
        found = np.minimum(np.searchsorted(self.places, episodes), max(len(self.places) - 1, 0))
        # An episode may have been removed since it was labelled: it then stays what it was drawn for.
        known = last & (self.places[found] == episodes) if len(self.places) else np.zeros(len(drawn), bool)
        kept, rows = drawn[~known], drawn.rows[known]
        of_row, tasks = np.nonzero(self.expanded[found[known]] != Verdict.UNSURE)
        outcomes = self.expanded[found[known]][of_row, tasks].astype(np.int64)
        added = LabelledTransitions(rows[of_row], tasks, outcomes == Verdict.SUCCESS, outcomes.astype(np.float32))
        counts = np.zeros_like(self.shares)
        np.add.at(counts, (tasks, outcomes), 1)
        weights = (self.shares / np.maximum(counts, 1))[tasks, outcomes]
        if weights.sum() > 0:
            weights *= known.sum() / weights.sum()
        together = np.concatenate([np.ones(len(kept)), weights])
        return kept + added, (together / together.sum()).astype(np.float32)

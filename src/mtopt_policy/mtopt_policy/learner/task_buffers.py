"""Per-task buffers, "further split into successful and failure groups" (paper Fig. 11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtopt_core.episode import Verdict

FAILURE, SUCCESS = int(Verdict.FAILURE), int(Verdict.SUCCESS)


@dataclass(frozen=True)
class TaskBuffers:
    """References to episodes by task and outcome: impersonating an episode as eight tasks costs eight integers.

    Attributes:
        places: All episodes' places in the store's index, rising, `(N,) int64`.
        expanded: What they are for each task, `(N, T) int8` of `Verdict`; not used for it where `UNSURE`.
        episodes: Places in the store's index, `(n,) int32`: the failures of the first task, its successes, and so on.
        starts: Where each group starts in `episodes`, `(T, 2) int64`.
        sizes: Episodes by task and outcome, `(T, 2) int64`: failures, successes.
    """

    places: np.ndarray
    expanded: np.ndarray
    episodes: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray, expanded: np.ndarray) -> TaskBuffers:
        """Sort impersonated episodes into buffers.

        Args:
            places: Places in the store's index, rising, `(N,) int`.
            expanded: What they are for each task, `(N, T) int8` of `Verdict`; not used for it where `UNSURE`.
        """
        groups = [
            places[expanded[:, task] == outcome].astype(np.int32)
            for task in range(expanded.shape[1])
            for outcome in (FAILURE, SUCCESS)
        ]
        sizes = np.array([len(group) for group in groups], np.int64)
        starts = np.cumsum(sizes) - sizes
        return cls(places, expanded, np.concatenate(groups), starts.reshape(-1, 2), sizes.reshape(-1, 2))

    def group(self, task: int, outcome: int) -> np.ndarray:
        """Return a task's failures or successes, `(n,) int32` places in the store's index."""
        start = self.starts[task, outcome]
        return self.episodes[start : start + self.sizes[task, outcome]]

    def sample(self, tasks: np.ndarray, outcomes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw an episode, uniformly within its group, for every pair of task and outcome.

        Args:
            tasks: `(B,) int`, places in the one-hot.
            outcomes: `(B,) int`, `FAILURE` or `SUCCESS`.
            rng: Source of the draw.

        Returns:
            Places in the store's index, `(B,) int32`.
        """
        starts = self.starts[tasks, outcomes]
        return self.episodes[rng.integers(starts, starts + self.sizes[tasks, outcomes])]

    def outcomes(self, episodes: np.ndarray) -> np.ndarray:
        """Return what episodes are for each task: places in the store's index `(B,) int` to `(B, T) int8`."""
        return self.expanded[np.searchsorted(self.places, episodes)]

"""Balanced training batches: every task weighs the same, and within a task success and failure do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FAR_WEIGHT = 0.1
"""Weight of a task's failures in episodes of other skills, of which a success weighs 1: enough to learn that a lift is
no place, not so much that the detector thinks of little else."""


class BalancedBatches:
    """Draws episodes, with a weight for every (episode, task) pair whose outcome is known.

    Rare successes are drawn over and over, as the learner's re-balancing does (paper section IV-B). A task's failures
    are drawn from episodes of its skill: the near misses. All other known outcomes of a drawn episode are learned from
    too, since the image tower has already been paid for.

    Args:
        outcomes: `(N, T) float`, 1 for success, 0 for failure, NaN where nobody knows.
        own_skill: `(N, T) bool`, whether the episode is of the task's skill.
    """

    def __init__(self, outcomes: np.ndarray, own_skill: np.ndarray) -> None:
        self._kinds = (
            (outcomes == 1, 1.0),
            ((outcomes == 0) & own_skill, 1.0),
            ((outcomes == 0) & ~own_skill, FAR_WEIGHT),
        )
        groups = [np.flatnonzero(column) for kind, _ in self._kinds[:2] for column in kind.T]
        self._groups = [group for group in groups if len(group)]

    def draw(self, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a batch.

        Args:
            size: Number of episodes.
            rng: Source of the draws.

        Returns:
            Rows of the drawn episodes, `(size,) int`, and the weights `(size, T) float32`, which sum to one and
            are zero where the outcome is unknown.
        """
        choice = rng.permutation(np.arange(size) % len(self._groups))
        rows = np.array([rng.choice(self._groups[group]) for group in choice])
        drawn = [(kind[rows], weight) for kind, weight in self._kinds]
        weights = sum(weight * kind / np.maximum(kind.sum(axis=0), 1) for kind, weight in drawn)
        return rows, (weights / weights.sum()).astype(np.float32)


FOREIGN = 0.15
"""Share of the images of other skills' looks that are shown: enough to learn that nothing was placed in a lift."""


def show(present: np.ndarray, own_look: np.ndarray, dropout: float, rng: np.random.Generator) -> np.ndarray:
    """Choose the images to learn from: some of those an episode is judged by, and few of the others.

    Args:
        present: `(B, L, V) bool`, which images there are.
        own_look: `(B,) int`, the look that shows whether the episode's skill succeeded.
        dropout: Share of its views to hide.
        rng: Source of the choice.

    Returns:
        `(B, L, V) bool`, at least one of each episode's own look, if there is one.
    """
    rows = np.arange(len(present))
    own = present[rows, own_look]
    kept = drop_views(own, dropout, rng)
    # With one look nothing is drawn for others.
    shown = present & (rng.random(present.shape) < FOREIGN) if present.shape[1] > 1 else np.zeros_like(present)
    shown[rows, own_look] = own & kept
    return shown


def mirror(values: np.ndarray, chosen: np.ndarray, becomes: Sequence[int | None]) -> np.ndarray:
    """Give what is known of some episodes to the tasks that they show in a mirror.

    Args:
        values: `(B, T)`, by task.
        chosen: `(B,) bool`, which episodes are mirrored.
        becomes: By task, the one it becomes.

    Returns:
        `(B, T)`, a new array; zero for a task that no task becomes.
    """
    source = [-1 if other is None else other for other in becomes]  # a mirror's mirror is as before
    mirrored = np.where(np.array(source) >= 0, values[:, source], 0)
    return np.where(chosen[:, None], mirrored, values).astype(values.dtype)


def drop_views(present: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Hide views at random, never an episode's last one, so that any subset of the cameras will do.

    Args:
        present: `(B, V) bool`.
        share: Share of the views to hide.
        rng: Source of the choice.

    Returns:
        `(B, V) bool`.
    """
    kept = present & (rng.random(present.shape) >= share)
    spared = np.where(present, rng.random(present.shape), -1.0).argmax(axis=1)
    kept[np.arange(len(kept)), spared] |= ~kept.any(axis=1)
    return kept

"""Transitions drawn from the task buffers "using re-balancing strategy" (paper Fig. 11)."""

from __future__ import annotations

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.rebalancing import Rebalancing
from mtopt_policy.learner.task_buffers import TaskBuffers


def draw_transitions(
    rebalancing: Rebalancing, buffers: TaskBuffers, store: EpisodeStore, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw transitions for the Bellman updater.

    Args:
        rebalancing: The composition of batches.
        buffers: References to the episodes; one at least.
        store: Where the transitions are.
        batch: Number of transitions B.
        rng: Source of the draw.

    Returns:
        Rows in the store, `(B,) int64`, and what their episodes are for the tasks they are examples of, `(B, T) int8`
        of `Verdict`: for that they were drawn for, or for every task.
    """
    tasks, outcomes = rebalancing.draw(buffers.sizes, batch, rng)
    episodes = buffers.sample(tasks, outcomes, rng)
    rows = store.sample_rows(episodes, rng, rebalancing.terminal_share)
    if rebalancing.every_task:
        return rows, buffers.outcomes(episodes)
    drawn_for = np.full((batch, len(buffers.sizes)), Verdict.UNSURE, np.int8)
    drawn_for[np.arange(batch), tasks] = outcomes
    return rows, drawn_for

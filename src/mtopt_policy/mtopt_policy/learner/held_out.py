"""How well Q tells the episodes that will succeed from those that will not, on episodes it never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mtopt_core.precision import Precision
from mtopt_core.statistics import area_under_curve
from mtopt_core.tasks import TaskSet
from mtopt_policy.learner.batches import Loader
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.impersonation import ImpersonatedEpisode
from mtopt_policy.q_network import QNetwork

CHUNK = 128


class HeldOut:
    """The last decisions of held-out episodes, impersonated as the training episodes are.

    Args:
        store: Where the transitions are.
        episodes: Held-out episodes.
        tasks: The tasks, in one-hot order.
        most: Evaluate on at most so many; the last are taken, collected by the latest policies.
    """

    def __init__(
        self, store: EpisodeStore, episodes: Sequence[ImpersonatedEpisode], tasks: TaskSet, most: int = 2000
    ) -> None:
        chosen = episodes[-most:]
        self._loader = Loader(store, len(tasks))
        self._store = store
        self._names = tasks.names
        self._rows = np.array([store.rows_of(episode.index)[-1] for episode in chosen], np.int64)
        self._tasks = np.array([tasks.index(episode.task) for episode in chosen], np.int64)
        self._successes = np.array([episode.success for episode in chosen], bool)

    def areas_under_curve(self, network: QNetwork, precision: Precision) -> dict[str, float]:
        """Return the area under the ROC curve of Q by task, of tasks with a success and a failure among these."""
        q = self._q(network, precision)
        areas = {}
        for number, name in enumerate(self._names):
            mine = self._tasks == number
            area = area_under_curve(q[mine], self._successes[mine])
            if area is not None:
                areas[name] = area
        return areas

    @torch.no_grad()
    def _q(self, network: QNetwork, precision: Precision) -> np.ndarray:
        logits = [np.empty(0, np.float32)]
        for start in range(0, len(self._rows), CHUNK):
            rows, tasks = self._rows[start : start + CHUNK], self._tasks[start : start + CHUNK]
            states = self._loader.states(rows, tasks).to(precision.device)
            actions = torch.from_numpy(self._store.records(rows)['action']).to(precision.device)
            with precision.autocast():
                chunk = network(precision.floats(states.images), actions, states.state, states.task)
            logits.append(chunk.float().cpu().numpy())
        return np.concatenate(logits)

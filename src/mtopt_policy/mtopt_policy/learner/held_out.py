"""How well Q tells the episodes that will succeed from those that will not, on episodes it never saw."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mtopt_core.episode import Verdict
from mtopt_core.precision import Precision
from mtopt_core.statistics import area_under_curve
from mtopt_core.tasks import TaskSet
from mtopt_policy.learner.batches import Loader
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.q_network import QNetwork

CHUNK = 128
MOST = 1000
"""Episodes judged at most; the last ones, collected by the latest policies."""


class HeldOut:
    """The last decisions of held-out episodes, impersonated as the training episodes are.

    Args:
        store: Where the transitions are.
        places: Held-out episodes, `(N,) int64` places in the store's index.
        expanded: What they are for each task, `(N, T) int8` of `Verdict`; not judged for it where `UNSURE`.
        tasks: The tasks, in one-hot order.
    """

    def __init__(self, store: EpisodeStore, places: np.ndarray, expanded: np.ndarray, tasks: TaskSet) -> None:
        used = (expanded != Verdict.UNSURE).any(axis=1)
        expanded = expanded[used][-MOST:]
        self._rows = store.last_rows(places[used][-MOST:])
        self._episodes, self._tasks = np.nonzero(expanded != Verdict.UNSURE)
        self._successes = expanded[self._episodes, self._tasks] == Verdict.SUCCESS
        self._store = store
        self._names = tasks.names

    def areas_under_curve(self, network: QNetwork, precision: Precision) -> dict[str, float]:
        """Return the area under the ROC curve of Q by task, of tasks with a success and a failure among these."""
        scores = self._scores(network, precision)
        areas = {}
        for number, name in enumerate(self._names):
            mine = self._tasks == number
            area = area_under_curve(scores[mine], self._successes[mine])
            if area is not None:
                areas[name] = area
        return areas

    @torch.no_grad()
    def _scores(self, network: QNetwork, precision: Precision) -> np.ndarray:
        """Return the logits of the last decisions for their tasks; each image passes the tower once."""
        scores = np.empty(len(self._tasks), np.float32)
        loader = Loader(self._store, len(self._names))
        for start in range(0, len(self._rows), CHUNK):
            rows = self._rows[start : start + CHUNK]
            here = (self._episodes >= start) & (self._episodes < start + CHUNK)
            episodes, tasks = torch.from_numpy(self._episodes[here] - start), torch.from_numpy(self._tasks[here])
            states = loader.states(rows, np.zeros(len(rows), np.int64)).to(precision.device)
            actions = torch.from_numpy(self._store.records(rows)['action']).to(precision.device)
            one_hot = functional.one_hot(tasks, len(self._names)).float().to(precision.device)
            with precision.autocast():
                features = network.tower(precision.floats(states.images))
                logits = network.head(features[episodes], actions[episodes][:, None], states.state[episodes], one_hot)
            scores[here] = logits[:, 0].float().cpu().numpy()
        return scores

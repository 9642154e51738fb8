"""Q of the last decisions of stored episodes, after which the tasks' rewards come, for any tasks."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mtopt_core.precision import Precision
from mtopt_policy.learner.batches import Loader, filled
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.q_network import QNetwork

CHUNK = 128


@torch.no_grad()
def last_decisions_q(
    network: QNetwork, precision: Precision, store: EpisodeStore, places: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Return the logits of Q of episodes' last decisions; each image passes the tower once, whatever the tasks.

    Args:
        network: The Q-function, in evaluation mode.
        precision: How it is evaluated.
        store: Where the transitions are.
        places: The episodes' places in the store's index, `(N,) int`.
        wanted: For which tasks, `(N, T) bool`.

    Returns:
        `(N, T) float32`, NaN where not wanted.
    """
    rows, tasks = store.last_rows(places), wanted.shape[1]
    found = np.full(wanted.shape, np.nan, np.float32)
    loader, device = Loader(store), precision.device
    for start in range(0, len(rows), CHUNK):
        here = slice(start, start + CHUNK)
        states = loader.states(filled(rows[here])).to(device)
        actions = torch.from_numpy(store.records(rows[here])['action']).to(device)
        with precision.autocast():
            features = network.tower(precision.floats(states.images))
        for task in range(tasks):
            judged = np.flatnonzero(wanted[here, task])
            if len(judged):
                chosen = torch.from_numpy(filled(judged)).to(device)
                one_hot = functional.one_hot(torch.full_like(chosen, task), tasks).float()
                with precision.autocast():
                    logits = network.head(features[chosen], actions[chosen, None], states.state[chosen], one_hot)
                found[here][judged, task] = logits[: len(judged), 0].float().cpu().numpy()
    return found

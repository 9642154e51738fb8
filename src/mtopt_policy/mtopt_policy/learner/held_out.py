"""How well Q tells the episodes that will succeed from those that will not, on episodes it never saw."""

from __future__ import annotations

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_core.precision import Precision
from mtopt_core.statistics import area_under_curve
from mtopt_core.tasks import TaskSet
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.last_decisions import last_decisions_q
from mtopt_policy.q_network import QNetwork

MOST = 1000
"""Episodes judged at most; the last ones, collected by the latest policies."""


def areas_under_curve(
    network: QNetwork,
    precision: Precision,
    store: EpisodeStore,
    places: np.ndarray,
    expanded: np.ndarray,
    tasks: TaskSet,
) -> dict[str, float]:
    """Return the area under the ROC curve of Q by task, for tasks with a success and a failure among the episodes.

    Args:
        network: The Q-function, in evaluation mode.
        precision: How it is evaluated.
        store: Where the transitions are.
        places: Held-out episodes, `(N,) int64` places in the store's index.
        expanded: What they are for each task, `(N, T) int8` of `Verdict`; not judged for it where `UNSURE`.
        tasks: The tasks.
    """
    used = np.flatnonzero((expanded != Verdict.UNSURE).any(axis=1))[-MOST:]
    expanded = expanded[used]
    judged = expanded != Verdict.UNSURE
    scores = last_decisions_q(network, precision, store, places[used], judged)
    areas = {}
    for number, name in enumerate(tasks.names):
        mine = judged[:, number]
        area = area_under_curve(scores[mine, number], expanded[mine, number] == Verdict.SUCCESS)
        if area is not None:
            areas[name] = area
    return areas

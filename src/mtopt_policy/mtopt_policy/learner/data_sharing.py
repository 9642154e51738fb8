"""Conservative data sharing (CDS, Yu et al. 2021, arXiv 2109.08128): share what a task's Q-function gains from.

Skills, the paper's answer to which episodes are shared with which tasks, are grouped by hand. CDS lets the Q-function
decide: a transition (s, a) is shared with task i where it is worth no less than most of what task i has itself,

    Q_i(s, a) >= P_k{Q_i(s', a') of task i's own data},        P_k: the k-th percentile.

Ours differs in three ways. Whole episodes are shared, as in impersonation, by the Q of their last decision, after
which the reward comes. Q is that of the averaged network as it is trained here, without a conservative loss. And it is
computed for a bounded number of episodes at a time, those first for which that is longest ago.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from mtopt_core.precision import Precision
from mtopt_policy.learner.configuration import SharingConfiguration
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.impersonation import LoggedEpisodes
from mtopt_policy.learner.last_decisions import last_decisions_q
from mtopt_policy.q_network import QNetwork

NEVER = -1


class DataSharing:
    """Keeps what episodes are worth to tasks.

    Args:
        configuration: How much is shared, and how often and for how many episodes their worth is computed.
        store: Where the transitions are.
        tasks: Number of tasks `T`.
    """

    def __init__(self, configuration: SharingConfiguration, store: EpisodeStore, tasks: int) -> None:
        self._configuration = configuration
        self._store = store
        self._q = np.empty((0, tasks), np.float16)
        self._steps = np.empty(0, np.int32)

    def is_due(self, step: int, stride: int) -> bool:
        """Return whether worth is to be computed at a gradient step; asked at every `stride`-th of them."""
        every = self._configuration.every
        return step >= every and step % every < stride

    def judge(self, places: np.ndarray, network: QNetwork, precision: Precision, step: int) -> None:
        """Compute what episodes are worth to every task, for those for which it is longest ago.

        Args:
            places: The episodes' places in the store's index, `(N,) int`.
            network: The Q-function, in evaluation mode.
            precision: How it is evaluated.
            step: Gradient steps made.
        """
        self._grow()
        oldest = np.argsort(self._steps[places], kind='stable')[: self._configuration.episodes]
        chosen = np.sort(places[oldest])
        every_task = np.ones((len(chosen), self._q.shape[1]), bool)
        self._q[chosen] = last_decisions_q(network, precision, self._store, chosen, every_task)
        self._steps[chosen] = step

    def gains(self, episodes: LoggedEpisodes) -> np.ndarray:
        """Return which tasks gain from which episodes, `(N, T) bool`: none from one that was never judged."""
        self._grow()
        q, judged = self._q[episodes.places].astype(np.float32), self._steps[episodes.places] != NEVER
        gains = np.zeros(q.shape, bool)
        for task in range(q.shape[1]):
            own = q[judged & (episodes.tasks == task), task]
            if len(own):
                gains[:, task] = judged & (q[:, task] >= np.quantile(own, self._configuration.quantile))
        return gains

    def state(self) -> dict[str, torch.Tensor]:
        """Return what is known, by name."""
        return {'q': torch.from_numpy(self._q), 'steps': torch.from_numpy(self._steps)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a `state` of the same store."""
        self._q, self._steps = state['q'].numpy().copy(), state['steps'].numpy().copy()

    def _grow(self) -> None:
        """Make room for the episodes that the store has gained."""
        more = len(self._store.index) - len(self._q)
        self._q = np.concatenate([self._q, np.full((more, self._q.shape[1]), np.nan, np.float16)])
        self._steps = np.concatenate([self._steps, np.full(more, NEVER, np.int32)])

"""The two target networks of QT-Opt's clipped double Q-learning: the averaged weights, and the same earlier."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mtopt_policy.q_network import QNetwork


class TargetNetworks:
    """theta-bar 1, the running average of the online weights, and theta-bar 2, theta-bar 1 some steps ago.

    The average is also what is exported: the policy that collects data acts by it.

    Args:
        online: The network being trained.
        rate: Share of the online weights in the average after each step (the paper's 0.9999 is a rate of 0.0001).
        lag: Gradient steps after which theta-bar 2 is renewed: it is between none and so many steps old. QT-Opt's is
            about 6000 steps old all the time; a copy that is kept as well would be needed for that.
    """

    def __init__(self, online: QNetwork, rate: float, lag: int) -> None:
        self.averaged = _frozen(online)
        self.lagged = _frozen(online)
        self._rate = rate
        self._lag = lag

    @torch.no_grad()
    def follow(self, online: nn.Module, step: int) -> None:
        """Move both after gradient step `step`, counted from 1."""
        if step % self._lag == 0:
            self.lagged.load_state_dict(self.averaged.state_dict())
        torch._foreach_lerp_(list(self.averaged.parameters()), list(online.parameters()), self._rate)
        # Statistics of batch normalisation are running averages already.
        for copied, statistic in zip(self.averaged.buffers(), online.buffers(), strict=True):
            copied.copy_(statistic)


def _frozen(network: QNetwork) -> QNetwork:
    return copy.deepcopy(network).eval().requires_grad_(requires_grad=False)

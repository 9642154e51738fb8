"""How the network's outputs are a value in [0, 1], and what the trainer's loss is.

Either way an action has a logit whose sigmoid is Q, so that acting and targets need not know which it is.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import nn
from torch.nn import functional

# Of the Gaussian, in bins; the paper's recommendation.
DEVIATION = 0.75
# Successes are rare: Q starts about here, as it does with one output.
FIRST_Q = 0.12


class BinaryValue:
    """One output, the logit of Q: the paper's (section IV-A, Fig. 9).

    Attributes:
        outputs: Numbers the network gives per action, K.
    """

    outputs = 1

    def logit(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the logits `(...)` whose sigmoid is Q, of outputs `(..., K)`."""
        return outputs[..., 0]

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropies `(B,)` of outputs `(B, K)` with Q-targets `(B,) in [0, 1]`."""
        return functional.binary_cross_entropy_with_logits(outputs[..., 0], targets, reduction='none')


class CategoricalValue(nn.Module):
    """Q as the mean of a distribution over K bins from 0 to 1: HL-Gauss (Farebrother et al. 2024, arXiv 2403.03950).

    A target becomes a Gaussian around it, of which every bin gets the part that lies in it; the loss is the
    cross-entropy with that. Bins are centred on 0, 1 / (K - 1), ... and 1, and the first and last get what lies beyond
    them, where the paper cuts it off and renormalises: so Q can be 0 and 1, and a target's mean is off by at most a
    third of a bin at either end and by nothing in between.

    Args:
        bins: Their number K.
    """

    _edges: torch.Tensor
    _log: torch.Tensor
    _log_rest: torch.Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.outputs = bins
        centres = torch.linspace(0, 1, bins, dtype=torch.float64)
        self.register_buffer('_edges', ((centres[1:] + centres[:-1]) / 2).float(), persistent=False)
        self.register_buffer('_log', centres.log().float(), persistent=False)
        self.register_buffer('_log_rest', (1 - centres).log().float(), persistent=False)

    def logit(self, outputs: torch.Tensor) -> torch.Tensor:
        """See `BinaryValue.logit`: the logarithm of the mean of the centres over the mean of one minus the centres."""
        return (outputs + self._log).logsumexp(-1) - (outputs + self._log_rest).logsumexp(-1)

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `BinaryValue.losses`."""
        return functional.cross_entropy(outputs, self.distribution(targets), reduction='none')

    def distribution(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of the bins, `(B, K)`, that targets `(B,)` stand for."""
        deviations = (self._edges - targets[:, None]) * ((self.outputs - 1) / DEVIATION)
        below = 0.5 * (1 + torch.erf(deviations / sqrt(2)))
        return torch.diff(functional.pad(functional.pad(below, (0, 1), value=1.0), (1, 0)), dim=1)

    def first_outputs(self) -> torch.Tensor:
        """Return outputs `(K,)` to start from: the probability falls from 0 to 1 with a mean of about `FIRST_Q`."""
        return -self._log.exp() / FIRST_Q

"""Makes a detector's probabilities mean what they say (temperature scaling, Guo et al. 2017).

Training shows success and failure equally often, the cell does not: beside the common temperature every task has an
offset of its logit. Both are fitted on validation episodes, which nothing was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch.nn import functional

BINS = 15
PRIOR = 0.02
"""Weight per task of staying at offset zero and temperature one, in episodes' cross-entropy: few labels move little."""


class Bin(BaseModel):
    """One point of a calibration curve.

    Attributes:
        probability: Mean p(success) of the episodes in the bin.
        share: Share of them that are successes.
        episodes: Their number.
    """

    model_config = ConfigDict(frozen=True)
    probability: float
    share: float
    episodes: int


class Calibration(BaseModel):
    """What turns logits into probabilities.

    Attributes:
        temperature: What logits are divided by.
        offsets: What is added then, per task in one-hot order.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    temperature: float = 1.0
    offsets: tuple[float, ...]

    @classmethod
    def none(cls, tasks: int) -> Calibration:
        """Return what changes nothing."""
        return cls(offsets=(0.0,) * tasks)

    @classmethod
    def fit(cls, logits: np.ndarray, outcomes: np.ndarray) -> Calibration:
        """Fit temperature and offsets by cross-entropy.

        Args:
            logits: `(N, T) float`, of validation episodes; may be NaN for what does not count.
            outcomes: `(N, T) float`, 1 for success, 0 for failure, NaN for what does not count.
        """
        known = ~np.isnan(outcomes)
        if not known.any():
            return cls.none(outcomes.shape[1])
        inputs, targets = (torch.from_numpy(np.nan_to_num(values)).double() for values in (logits, outcomes))
        weights = torch.from_numpy(known).double()
        parameters = torch.zeros(1 + outcomes.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn='strong_wolfe')

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            calibrated = inputs * torch.exp(-parameters[0]) + parameters[1:]
            entropy = functional.binary_cross_entropy_with_logits(calibrated, targets, weights, reduction='sum')
            value = entropy + PRIOR * parameters.square().sum()
            value.backward()
            return value

        optimizer.step(loss)  # type: ignore[arg-type]
        log_temperature, *offsets = parameters.detach().tolist()
        return cls(temperature=float(np.exp(log_temperature)), offsets=tuple(offsets))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return p(success), `(..., T) float32`, of logits of that shape; of NaN NaN."""
        calibrated = logits.astype(np.float64) / self.temperature + np.array(self.offsets)
        return (1 / (1 + np.exp(-np.clip(calibrated, -60, 60)))).astype(np.float32)


def calibration_curve(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Return how often episodes of a probability are successes, by bins of equal width that hold any.

    Args:
        probabilities: `(N,) float`.
        outcomes: `(N,)`, 1 for success and 0 for failure.
        bins: Number of bins.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        Bin(
            probability=float(probabilities[places == place].mean()),
            share=float(outcomes[places == place].mean()),
            episodes=int((places == place).sum()),
        )
        for place in np.unique(places)
    ]


def expected_calibration_error(curve: Sequence[Bin]) -> float | None:
    """Return the mean distance of a curve from the diagonal, weighted by episodes; None without any."""
    total = sum(point.episodes for point in curve)
    if not total:
        return None
    return sum(point.episodes * abs(point.probability - point.share) for point in curve) / total

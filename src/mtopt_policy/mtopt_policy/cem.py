"""The cross-entropy method that maximises Q over actions (paper section IV-A; QT-Opt section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mtopt_policy.action_space import CONTINUOUS, ActionSpace, Choice

# Of the limits, in every continuous dimension; the mean is 0. Two standard deviations reach the limits.
FIRST_STANDARD_DEVIATION = 0.5
# Probability spread evenly over the choices at every refit, so that none vanishes because six elites missed it.
CHOICE_FLOOR = 0.1


@dataclass(frozen=True)
class CrossEntropyMethod:
    """CEM over displacement, yaw change and the discrete choice.

    The continuous part is a diagonal Gaussian, clipped to the limits. The choice is a categorical distribution, even
    at first, refit to the elites' shares and a floor. Its samples are allotted in proportion, not drawn. A choice that
    moves nothing (`ActionSpace.still`) is a single action: it gets one sample in every iteration, takes no part in
    the refit, and so can neither crowd out the others nor be lost.

    The result is the best sample of the last iteration, as in QT-Opt's released policy.

    Attributes:
        action_space: What is sampled.
        samples: Samples per iteration, N.
        elites: Samples the distributions are refit to, M.
        iterations: Rounds of sampling.
    """

    action_space: ActionSpace
    samples: int = 64
    elites: int = 6
    iterations: int = 2

    def maximise(
        self,
        score: Callable[[torch.Tensor], torch.Tensor],
        masks: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the actions of highest score, for B states at once.

        Args:
            score: Maps `(B, N, 8)` encoded actions to `(B, N)` scores.
            masks: `(B, 4) bool`, allowed choices; MOVE always is.
            generator: Source of randomness, on the masks' device.

        Returns:
            Actions `(B, 8)` and their scores `(B,)`; a NaN score is returned rather than passed over.
        """
        batch, device = len(masks), masks.device
        still = torch.tensor(self.action_space.still, device=device)
        mean = torch.zeros(batch, 1, CONTINUOUS, device=device)
        deviation = torch.full_like(mean, FIRST_STANDARD_DEVIATION)
        even = (masks & ~still).float()
        even = even / even.sum(1, keepdim=True)
        probabilities = even
        for _ in range(self.iterations):
            noise = torch.randn(batch, self.samples, CONTINUOUS, generator=generator, device=device)
            continuous = self.action_space.confine(mean + deviation * noise)
            choice = self._allot(probabilities, masks & still)
            actions = self.action_space.assemble(continuous, choice)
            scores = score(actions).float()

            elites = scores.masked_fill(still[choice], -torch.inf).topk(self.elites, dim=1).indices
            elite_part = continuous.gather(1, elites[..., None].expand(-1, -1, CONTINUOUS))
            deviation, mean = torch.std_mean(elite_part, dim=1, keepdim=True)
            shares = torch.nn.functional.one_hot(choice.gather(1, elites), len(Choice)).float().mean(1)
            probabilities = (1 - CHOICE_FLOOR) * shares + CHOICE_FLOOR * even
        best = scores.argmax(1)
        rows = torch.arange(batch, device=device)
        return actions[rows, best], scores[rows, best]

    def _allot(self, probabilities: torch.Tensor, single: torch.Tensor) -> torch.Tensor:
        """Return each sample's choice, `(B, N) int64`: N shared out by `(B, 4)`, then one for each `single` choice."""
        places = (torch.arange(self.samples, device=probabilities.device) + 0.5) / self.samples
        cumulative = probabilities.cumsum(1)[:, None, : len(Choice) - 1]
        choice = (places[None, :, None] > cumulative).sum(2)
        choices = torch.arange(len(Choice), device=probabilities.device)
        choice[:, : len(Choice)] = torch.where(single, choices, choice[:, : len(Choice)])
        return choice

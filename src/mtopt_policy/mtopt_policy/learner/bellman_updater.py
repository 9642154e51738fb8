"""The Bellman updater: "computes Q-targets for individual transitions" (paper Fig. 11, section IV-A).

Q_T(s, a, s') = r(s, a) + gamma V(s'), with QT-Opt's clipped double Q and CEM as the maximiser:

    a* = argmax_a Q_1(s', a)          V(s') = min(Q_1(s', a*), Q_2(s', a*))

The reward is the outcome of the task in the final image and zero before (paper section V), so a terminal transition's
target is its reward, and needs neither image nor search, and any other's is gamma V(s').

With n-step returns s' is n decisions later and its value discounted by gamma^n; an episode that ends before gives
gamma^k times its outcome, k decisions ahead. An error of V, which the maximum over actions makes an excess, then comes
back n times more seldom, and what an episode came to is known n times sooner. In exchange the actions in between are
the episode's, not the best ones: the target is low where it dithered (nothing corrects for that, as in Rainbow, arXiv
1710.02298; the paper has n = 1).

With the Monte-Carlo bound no target is below gamma^k, k decisions before the end of an episode that succeeded: what was
done can be done, so Q of the best policy is at least that (the paper has no such bound; Q-Transformer, arXiv
2309.10150, section 4.3).

With the logged action as a candidate, a* is the action taken at s' where Q_1 prefers it to what CEM found: a few dozen
samples can miss an action that is known to work (the paper has only CEM's).
"""

from __future__ import annotations

import numpy as np
import torch

from mtopt_core.episode import Verdict
from mtopt_core.precision import Precision
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.learner.batches import Examples, States, UnlabelledTransitions
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.train_buffer import LabelledTransitions

AT_ONCE = {'cpu': 128, 'cuda': 2048}
"""Searches at a time: of more the samples' maps would not stay in a CPU's cache; a GPU waits for every small kernel."""


class BellmanUpdater:
    """Labels transitions with Q-targets.

    Args:
        targets: The two target networks.
        cem: The maximiser over actions.
        masks: Discrete choices allowed, by task and gripper_closed: `(T, 2, 4) bool`.
        discount: gamma.
        monte_carlo: Whether an episode's own return bounds its targets from below.
        logged_action: Whether the action taken at s' is a candidate for a*.
        precision: How the networks are evaluated.
    """

    def __init__(
        self,
        targets: TargetNetworks,
        cem: CrossEntropyMethod,
        masks: np.ndarray,
        discount: float,
        monte_carlo: bool,
        logged_action: bool,
        precision: Precision,
    ) -> None:
        self._targets = targets
        self._cem = cem
        self._masks = torch.from_numpy(masks).to(precision.device)
        self._discount = discount
        self._monte_carlo = monte_carlo
        self._logged_action = logged_action
        self._precision = precision

    def label(self, transitions: UnlabelledTransitions, generator: torch.Generator) -> LabelledTransitions:
        """Compute the Q-targets of transitions.

        Args:
            transitions: The transitions.
            generator: Source of CEM's samples.
        """
        outcomes, remaining = transitions.outcomes, transitions.remaining[:, None]
        returns = ((outcomes == Verdict.SUCCESS) * self._discount**remaining).astype(np.float32)
        targets, going_on = returns.copy(), np.flatnonzero(transitions.going_on)
        examples = Examples.among(outcomes[going_on])
        if len(examples.of):
            logged = transitions.next_actions if self._logged_action else None
            value = self.value(transitions.next_states, examples, generator, logged)
            discounted = (self._discount**transitions.n_step * value).clamp(0, 1)
            targets[going_on[examples.of], examples.tasks] = discounted.cpu().numpy()
        if self._monte_carlo:
            targets = np.maximum(targets, returns)
        targets[outcomes == Verdict.UNSURE] = np.nan
        return LabelledTransitions(transitions.rows, outcomes, targets)

    @torch.no_grad()
    def value(
        self, states: States, examples: Examples, generator: torch.Generator, logged: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return V, `(P,) float32 in [0, 1]`.

        Args:
            states: The states, B of them.
            examples: For which tasks.
            generator: Source of CEM's samples.
            logged: Further candidates for a*, `(B, 8)`.
        """
        states = states.to(self._precision.device)
        images = self._precision.floats(states.images)
        places, tasks = examples.filled().on(self._precision.device)
        values, at_once = [], AT_ONCE[self._precision.device.type]
        with self._precision.autocast():
            features, others = (network.tower(images) for network in (self._targets.averaged, self._targets.lagged))
            for of, task in zip(places.split(at_once), tasks.split(at_once), strict=True):
                state = states.state[of]
                candidates = None if logged is None else logged.to(self._precision.device)[of]
                actions, logits = self._best(features[of], state, task, candidates, generator)
                second = self._targets.lagged.head(others[of], actions[:, None], state, task)[:, 0]
                values.append(torch.minimum(logits.float(), second.float()).sigmoid())
        return torch.cat(values)[: len(examples.of)]

    def _best(
        self,
        features: torch.Tensor,
        state: torch.Tensor,
        task: torch.Tensor,
        logged: torch.Tensor | None,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a* and its logit by the first network; arguments as of `QNetwork.head`."""
        network, masks = self._targets.averaged, self._masks[task.argmax(1), state[:, 0].long()]
        actions, logits = self._cem.maximise(
            lambda samples: network.head(features, samples, state, task), masks, generator
        )
        if logged is None:
            return actions, logits
        logged_logits = network.head(features, logged[:, None], state, task)[:, 0]
        actions = torch.where((logged_logits > logits)[:, None], logged, actions)
        return actions, torch.maximum(logged_logits, logits)

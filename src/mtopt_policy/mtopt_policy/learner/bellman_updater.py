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

from mtopt_core.precision import Precision
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.learner.batches import States, UnlabelledTransitions
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.train_buffer import LabelledTransitions


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
        returns = (transitions.successes * self._discount**transitions.remaining).astype(np.float32)
        targets, going_on = returns.copy(), transitions.going_on
        if going_on.any():
            logged = transitions.next_actions if self._logged_action else None
            value = self.value(transitions.next_states, generator, logged)
            targets[going_on] = (self._discount**transitions.n_step * value).clamp(0, 1).cpu().numpy()
        if self._monte_carlo:
            targets = np.maximum(targets, returns)
        return LabelledTransitions(transitions.rows, transitions.tasks, transitions.successes, targets)

    @torch.no_grad()
    def value(self, states: States, generator: torch.Generator, logged: torch.Tensor | None = None) -> torch.Tensor:
        """Return V, `(B,) float32 in [0, 1]`, of states; `logged` are further candidates for a*, `(B, 8)`."""
        states = states.to(self._precision.device)
        images = self._precision.floats(states.images)
        gripper_closed = states.state[:, 0].long()
        masks = self._masks[states.task.argmax(1), gripper_closed]
        first, second = self._targets.averaged, self._targets.lagged
        with self._precision.autocast():
            features = first.tower(images)
            actions, logits = self._cem.maximise(
                lambda samples: first.head(features, samples, states.state, states.task), masks, generator
            )
            if logged is not None:
                logged = logged.to(self._precision.device)
                logged_logits = first.head(features, logged[:, None], states.state, states.task)[:, 0]
                actions = torch.where((logged_logits > logits)[:, None], logged, actions)
                logits = torch.maximum(logged_logits, logits)
            others = second(images, actions, states.state, states.task)
        return torch.minimum(logits.float(), others.float()).sigmoid()

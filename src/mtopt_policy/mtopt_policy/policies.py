"""The policies an episode can ask for by name, and where the learned one comes from."""

from __future__ import annotations

import numpy as np

from mtopt_core.episode import Action, Observation
from mtopt_core.errors import CheckpointError, ConfigurationError
from mtopt_policy.policy import Policy

SCRIPTED, LEARNED, MIXTURE = 'scripted', 'learned', 'mixture'
NAMES = (SCRIPTED, LEARNED, MIXTURE)


class MixturePolicy:
    """Draws one of two policies for each episode, as the paper's fleet while it bootstraps (sections VI, X-B).

    Args:
        scripted: The scripted policy.
        learned: The learned one.
        scripted_share: Probability of the scripted one.
    """

    def __init__(self, scripted: Policy, learned: Policy, scripted_share: float):
        self._scripted = scripted
        self._learned = learned
        self._scripted_share = scripted_share
        self._drawn = scripted

    @property
    def name(self) -> str:
        """Return the name of the policy drawn last."""
        return self._drawn.name

    @property
    def model_version(self) -> str:
        """Return the version of the policy drawn last."""
        return self._drawn.model_version

    @property
    def views(self) -> tuple[str, ...]:
        """Return the views of the policy drawn last."""
        return self._drawn.views

    def begin(self, task: str, seed: int) -> None:
        """Draw a policy and start an episode with it; see `Policy.begin`."""
        scripted = np.random.default_rng((seed, len(NAMES))).random() < self._scripted_share
        self._drawn = self._scripted if scripted else self._learned
        self._drawn.begin(task, seed)

    def act(self, observation: Observation) -> Action:
        """Decide; see `Policy.act`."""
        return self._drawn.act(observation)


def choose_policy(name: str, scripted: Policy, learned: Policy | None, scripted_share: float) -> Policy:
    """Return the policy of a name.

    Args:
        name: `scripted`, `learned` or `mixture`.
        scripted: The scripted policy.
        learned: The learned one, none while there is no checkpoint.
        scripted_share: Probability of the scripted one in a mixture.

    Raises:
        ConfigurationError: There is no policy of that name.
        CheckpointError: It needs a learned policy and there is none.
    """
    if name not in NAMES:
        raise ConfigurationError(f'unknown policy {name!r}; known: {", ".join(NAMES)}')
    if name == SCRIPTED:
        return scripted
    if learned is None:
        raise CheckpointError(f'policy {name!r} needs a checkpoint and none was loaded; train one or use {SCRIPTED!r}')
    return learned if name == LEARNED else MixturePolicy(scripted, learned, scripted_share)

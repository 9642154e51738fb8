"""What a policy's checkpoint says about itself, beside what every checkpoint does."""

from __future__ import annotations

from typing import Literal

from mtopt_core.checkpoint import Manifest
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.q_network import QNetworkConfiguration


class PolicyManifest(Manifest):
    """Manifest of a Q-function.

    Attributes:
        network: Which network the weights are of, and the views and size of the images it sees.
        action_space: What its actions mean.
    """

    kind: Literal['policy'] = 'policy'
    network: QNetworkConfiguration
    action_space: ActionSpace

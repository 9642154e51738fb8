"""What a policy's checkpoint says about itself, beside what every checkpoint does."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from mtopt_core.checkpoint import Manifest
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.q_network import QNetworkConfiguration


class TrainingRecord(BaseModel):
    """How a Q-function was trained, for people and reports.

    Attributes:
        preset: Name of the trainer's preset.
        steps: Gradient steps.
        impersonation: Name of the impersonation function.
        learned: The tasks it was trained for, where not for all.
        episodes: Episodes trained on.
        started_from: Version of the policy it started from, empty for none.
        areas_under_curve: By task, how well Q ranks the last decisions of held-out episodes: 1 is perfect.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    preset: str
    steps: int
    impersonation: str
    learned: tuple[str, ...] = ()
    episodes: int
    started_from: str = ''
    areas_under_curve: dict[str, float] = {}


class PolicyManifest(Manifest):
    """Manifest of a Q-function.

    Attributes:
        network: Which network the weights are of, and the views and size of the images it sees.
        action_space: What its actions mean.
        training: How it was trained, where it was.
    """

    kind: Literal['policy'] = 'policy'
    network: QNetworkConfiguration
    action_space: ActionSpace
    training: TrainingRecord | None = None

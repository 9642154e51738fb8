"""The multi-task Q-function Q(s, a, task) (paper section IV-A, Appendix X-A, Fig. 9)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from mtopt_core.configuration import MAIN, WRIST
from mtopt_core.fusion_head import FusionHead
from mtopt_core.layers import Norm, Preset
from mtopt_core.vision_tower import VisionTower
from mtopt_policy.value import BinaryValue, CategoricalValue

ACTION_BLOCKS = (3, 2, 1, 1, 1)
STATE_BLOCKS = (1, 1)

# Brings the height, a few tenths of a metre, to the size of the other inputs.
HEIGHT_SCALE = 10.0


class NetworkConfiguration(BaseModel):
    """What a trainer preset chooses of the Q-network.

    Attributes:
        preset: Its layers: `paper` (Grasping44 and a block for the task) or `small` (trains on a CPU).
        views: Cameras, one tower each; their feature maps are summed.
        image_size: Side of the square images, px.
        norm: `batch` (as the paper) or `group`.
        heads: `one`, or `per_task`: the last three fully connected layers n times, one for each task (paper Fig. 10).
            The task is an input either way.
        value_bins: Bins of a categorical value (see `CategoricalValue`, 51 is usual); none for the paper's one logit.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    preset: Preset
    views: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: int
    norm: Norm
    heads: Literal['one', 'per_task'] = 'one'
    value_bins: Annotated[int, Field(ge=2)] | None = None


class QNetworkConfiguration(NetworkConfiguration):
    """Which network it is; part of a policy's manifest.

    Attributes:
        tasks: Length of the task's one-hot.
    """

    tasks: Annotated[int, Field(gt=0)]

    @classmethod
    def paper(cls, tasks: int) -> QNetworkConfiguration:
        """Return the paper's network: one over-the-shoulder view of 472 px."""
        return cls(preset='paper', tasks=tasks, views=(MAIN,), image_size=472, norm='batch')

    @classmethod
    def small(cls, tasks: int) -> QNetworkConfiguration:
        """Return a network that learns on two CPU cores: main and wrist views of 64 px."""
        return cls(preset='small', tasks=tasks, views=(MAIN, WRIST), image_size=64, norm='group')


class QNetwork(nn.Module):
    """Q-function; `sigmoid` of its logits is Q in [0, 1].

    The image part (`tower`) is computed once per image, the rest (`head`) once per action.
    """

    def __init__(self, configuration: QNetworkConfiguration):
        super().__init__()
        self.configuration = configuration
        preset, norm = configuration.preset, configuration.norm
        bins = configuration.value_bins
        self.value = BinaryValue() if bins is None else CategoricalValue(bins)
        self.towers = nn.ModuleList(VisionTower(preset, norm) for _ in configuration.views)
        self.fusion = FusionHead(
            preset,
            norm,
            (*ACTION_BLOCKS, *STATE_BLOCKS, configuration.tasks),
            configuration.image_size,
            heads=configuration.tasks if configuration.heads == 'per_task' else 1,
            outputs=self.value.outputs,
        )
        if isinstance(self.value, CategoricalValue):
            self.fusion.logit.bias.data.copy_(self.value.first_outputs())

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """Return feature maps `(B, C, h, w)` of images `(B, V, 3, S, S) float in [0, 1]`, views as configured."""
        first, *others = (tower(images[:, view]) for view, tower in enumerate(self.towers))
        return sum(others, start=first)

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Score N actions beside each image.

        Args:
            features: `(B, C, h, w)`, from `tower`.
            actions: `(B, N, 8)`, encoded by `ActionSpace`.
            state: `(B, 2)`: gripper_closed (0 or 1), height_to_bottom (m).
            task: `(B, T)` one-hot.

        Returns:
            `(B, N)` logits.
        """
        return self.score(self.embed(features, actions, state, task), task)

    def embed(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return what the last layer sees, `(B, N, 64)`; arguments as in `head`."""
        closed, height = state[:, None].split(STATE_BLOCKS, dim=2)
        blocks = [*actions.split(ACTION_BLOCKS, dim=2), closed, height * HEIGHT_SCALE, task[:, None]]
        return self.fusion.embed(features, blocks, task)

    def score(self, embedding: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        """Return the logits `(B, N)`, always float32, of what `embed` returned for tasks `(B, T)`."""
        return self.value.logit(self.fusion.score(embedding, task))

    def outputs(
        self, images: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return what `value` makes logits of, and the loss: `(B, K)`, always float32; arguments as in `forward`."""
        embedding = self.embed(self.tower(images), actions[:, None], state, task)
        return self.fusion.score(embedding, task)[:, 0]

    def forward(
        self, images: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `(B,)` of one action `(B, 8)` per image; the other arguments as in `tower` and `head`."""
        return self.value.logit(self.outputs(images, actions, state, task))

"""The multi-task success detector p(success | final image, task) (paper section V).

The Q-network without the inputs of state and action: one image tower, the one-hot task fused into its feature map. All
views go through the same tower; the mean of the logits of the views present is the detector's, so any subset of the
cameras will do.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from mtopt_core.configuration import DETECTOR_CAMERAS
from mtopt_core.fusion_head import FusionHead
from mtopt_core.layers import Norm, Preset
from mtopt_core.vision_tower import VisionTower


class DetectorConfiguration(BaseModel):
    """Which network it is; part of a detector's manifest.

    Attributes:
        preset: `paper` (Grasping44's layers) or `small` (trains on a CPU).
        tasks: Length of the task's one-hot.
        views: Cameras it knows.
        image_size: Side of the square images, px.
        norm: `batch` (as the paper) or `group`.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    preset: Preset
    tasks: Annotated[int, Field(gt=0)]
    views: Annotated[tuple[str, ...], Field(min_length=1)] = DETECTOR_CAMERAS
    image_size: int
    norm: Norm

    @classmethod
    def paper(cls, tasks: int) -> DetectorConfiguration:
        """Return the paper's network, 472 px."""
        return cls(preset='paper', tasks=tasks, image_size=472, norm='batch')

    @classmethod
    def small(cls, tasks: int) -> DetectorConfiguration:
        """Return a network that learns on two CPU cores in a minute, 64 px."""
        return cls(preset='small', tasks=tasks, image_size=64, norm='group')


class SuccessDetector(nn.Module):
    """Final images to one logit per task; their `sigmoid` is p(success)."""

    one_hot: torch.Tensor

    def __init__(self, configuration: DetectorConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        self.tower = VisionTower(configuration.preset, configuration.norm)
        self.fusion = FusionHead(
            configuration.preset, configuration.norm, (configuration.tasks,), configuration.image_size
        )
        self.register_buffer('one_hot', torch.eye(configuration.tasks), persistent=False)

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Judge final images for every task.

        Args:
            images: `(B, V, 3, S, S) float in [0, 1]`, views as configured.
            present: `(B, V) bool`, which views there are; at least one per episode.

        Returns:
            `(B, T)` logits.
        """
        features = self.tower(images[present])
        logits = self.fusion(features, [self.one_hot.expand(len(features), -1, -1)])
        episode, _ = present.nonzero(as_tuple=True)
        total = logits.new_zeros(len(images), logits.shape[1]).index_add(0, episode, logits)
        return total / present.sum(dim=1, keepdim=True)

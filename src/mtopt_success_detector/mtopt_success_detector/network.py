"""The multi-task success detector p(success | final image, task) (paper section V).

The Q-network without the inputs of state and action: one image tower, the one-hot task fused into its feature map. All
views go through the same tower; the mean of the logits of the views present is the detector's, so any subset of the
cameras will do. The preset `small` has a head of its own, which is told which camera it is, see `pooled_head`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from mtopt_core.configuration import DETECTOR_CAMERAS
from mtopt_core.fusion_head import FusionHead
from mtopt_core.layers import CHANNELS, Norm, Preset
from mtopt_core.vision_tower import VisionTower
from mtopt_success_detector.pooled_head import PooledHead

MOMENTUM = 0.02
"""Of the batch normalisation's running figures with the pooled head, which learns in some thousand steps: by the 0.0003
of Grasping44, made for a million, they would still be half what they began as."""
SILENT = 0.2
"""Smallest spread of a feature that counts, as a share of their mean spread."""


class DetectorConfiguration(BaseModel):
    """Which network it is; part of a detector's manifest.

    Attributes:
        preset: `paper` (Grasping44's layers) or `small` (trains on a CPU).
        tasks: Length of the task's one-hot.
        views: Cameras it knows.
        image_size: Side of the square images, px.
        norm: `batch` (as the paper) or `group`.
        head: `fusion`, the Q-network's, or `pooled`, which knows the camera and pools over the map.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    preset: Preset
    tasks: Annotated[int, Field(gt=0)]
    views: Annotated[tuple[str, ...], Field(min_length=1)] = DETECTOR_CAMERAS
    image_size: int
    norm: Norm
    head: Literal['fusion', 'pooled'] = 'fusion'

    @classmethod
    def paper(cls, tasks: int) -> DetectorConfiguration:
        """Return the paper's network, 472 px."""
        return cls(preset='paper', tasks=tasks, image_size=472, norm='batch')

    @classmethod
    def small(cls, tasks: int) -> DetectorConfiguration:
        """Return a network that learns on two CPU cores in a minute, 64 px."""
        return cls(preset='small', tasks=tasks, image_size=64, norm='batch', head='pooled')


class Judgement(NamedTuple):
    """What the network says of a batch of episodes.

    Attributes:
        logits: `(B, T)`, the mean over the views present.
        by_view: `(B, V, T)`, NaN where a view is missing.
        distances: `(B, T)`, how far the tower's features are from those of usual episodes of the task's skill: mean
            square in their standard deviations, so about 1 for episodes like those.
    """

    logits: torch.Tensor
    by_view: torch.Tensor
    distances: torch.Tensor


class SuccessDetector(nn.Module):
    """Final images to one logit per task; their `sigmoid`, calibrated, is p(success)."""

    one_hot: torch.Tensor
    cameras: torch.Tensor
    usual: torch.Tensor
    spread: torch.Tensor

    def __init__(self, configuration: DetectorConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        self.tower = VisionTower(configuration.preset, configuration.norm)
        preset, norm, blocks = configuration.preset, configuration.norm, (configuration.tasks,)
        self.fusion: FusionHead | PooledHead
        if configuration.head == 'pooled':
            self.fusion = PooledHead(preset, norm, (*blocks, len(configuration.views)))
            for layer in self.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = MOMENTUM
        else:
            self.fusion = FusionHead(preset, norm, blocks, configuration.image_size)
        self.register_buffer('one_hot', torch.eye(configuration.tasks), persistent=False)
        self.register_buffer('cameras', torch.eye(len(configuration.views)), persistent=False)
        # The features that are usual, by task; part of the weights, because they change with them.
        features = 2 * CHANNELS[configuration.preset]
        self.register_buffer('usual', torch.zeros(configuration.tasks, features))
        self.register_buffer('spread', torch.ones(configuration.tasks, features))

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Judge final images for every task.

        Args:
            images: `(B, V, 3, S, S) float in [0, 1]`, views as configured.
            present: `(B, V) bool`, which views there are; at least one per episode.

        Returns:
            `(B, T)` logits.
        """
        return self.of_views(images[present], present)

    def of_views(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Do as `forward`, with the images of the views present alone.

        Args:
            images: `(sum(present), 3, S, S) float in [0, 1]`, by episode and view.
            present: As for `forward`.
        """
        return _mean_over_views(self._logits(self.tower(images), present), present)

    def judge(self, images: torch.Tensor, present: torch.Tensor) -> Judgement:
        """Judge final images for every task, view by view too.

        Args:
            images: As for `forward`.
            present: As for `forward`.
        """
        maps = self.tower(images[present])
        logits = self._logits(maps, present)
        by_view = logits.new_full((*present.shape, logits.shape[1]), torch.nan)
        by_view[present] = logits
        features = _mean_over_views(_pooled(maps), present)
        distances = ((features[:, None] - self.usual) / self.spread).square().mean(dim=2)
        return Judgement(_mean_over_views(logits, present), by_view, distances)

    def features(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the tower's features `(B, K)`: mean and spread of every map, the mean over the views present.

        Args:
            images: As for `forward`.
            present: As for `forward`.
        """
        return _mean_over_views(_pooled(self.tower(images[present])), present)

    def expect(self, features: torch.Tensor, own_skill: np.ndarray) -> None:
        """Take the features of some episodes as the usual ones.

        Args:
            features: `(N, K)`, from `features`.
            own_skill: `(N, T) bool`, the episodes that count for a task; a task with less than two is as before.
        """
        for task in np.flatnonzero(own_skill.sum(axis=0) > 1).tolist():
            of_task = features[own_skill[:, task]].to(self.usual.device)
            spread = of_task.std(dim=0)
            self.usual[task] = of_task.mean(dim=0)
            # A map that is always silent must not turn a first faint sound into an enormous distance.
            self.spread[task] = spread.clamp_min(float(spread.mean()) * SILENT + 1e-6)

    def _logits(self, maps: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return logits of single images, `(M, T)`, from their feature maps, one for each of the views present."""
        tasks = self.one_hot.expand(len(maps), -1, -1)
        if self.configuration.head == 'fusion':
            return self.fusion(maps, [tasks])
        _, views = present.nonzero(as_tuple=True)
        return self.fusion(maps, [tasks, self.cameras[views][:, None]])


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    return torch.cat([maps.float().mean(dim=(2, 3)), maps.float().std(dim=(2, 3))], dim=1)


def _mean_over_views(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the mean `(B, K)` of values `(sum(present), K)`, one row per view present."""
    episode, _ = present.nonzero(as_tuple=True)
    total = values.new_zeros(len(present), values.shape[1]).index_add(0, episode, values)
    return total / present.sum(dim=1, keepdim=True)

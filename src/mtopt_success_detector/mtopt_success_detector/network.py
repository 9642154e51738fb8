"""The multi-task success detector p(success | final image, task) (paper section V).

The Q-network without the inputs of state and action: one image tower, the one-hot task fused into its feature map. All
views go through the same tower; the mean of the logits of the views present is the detector's, so any subset of the
cameras will do. A task whose skill has a region is judged by the rectified images of that, any other by whole pictures.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from mtopt_core.configuration import DETECTOR_CAMERAS
from mtopt_core.fusion_head import FusionHead
from mtopt_core.layers import CHANNELS, Norm, Preset
from mtopt_core.regions import Regions
from mtopt_core.tasks import TaskSet
from mtopt_core.vision_tower import VisionTower
from mtopt_success_detector.looks import Looks

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
        skills: Of every task, in one-hot order; needed where there are regions.
        regions: What is looked at rectified, by skill and camera.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    preset: Preset
    tasks: Annotated[int, Field(gt=0)]
    views: Annotated[tuple[str, ...], Field(min_length=1)] = DETECTOR_CAMERAS
    image_size: int
    norm: Norm
    skills: tuple[str, ...] = ()
    regions: Regions = Field(default_factory=dict)

    @model_validator(mode='after')
    def _every_task_has_a_skill(self) -> Self:
        if self.regions and len(self.skills) != self.tasks:
            raise ValueError(f'a detector with regions needs the skills of its {self.tasks} tasks, got {self.skills}')
        return self

    @classmethod
    def paper(cls, tasks: int) -> DetectorConfiguration:
        """Return the paper's network, 472 px."""
        return cls(preset='paper', tasks=tasks, image_size=472, norm='batch')

    @classmethod
    def small(cls, tasks: int) -> DetectorConfiguration:
        """Return a network that learns on two CPU cores in a minute, 64 px."""
        return cls(preset='small', tasks=tasks, image_size=64, norm='group')

    def looking_at(self, regions: Regions) -> DetectorConfiguration:
        """Return the network that looks at some regions, as far as it knows a task and a camera that are theirs."""
        known = {
            skill: {view: corners for view, corners in by_camera.items() if view in self.views}
            for skill, by_camera in regions.items()
            if skill in self.skills
        }
        return self.model_copy(update={'regions': {skill: by_view for skill, by_view in known.items() if by_view}})

    def of_tasks(self, tasks: TaskSet) -> DetectorConfiguration:
        """Return the network that judges some tasks."""
        return self.model_copy(update={'tasks': len(tasks), 'skills': tuple(task.skill for task in tasks.tasks)})

    @property
    def looks(self) -> Looks:
        """What it sees of an episode."""
        return Looks(self.views, self.image_size, self.regions)

    @property
    def look_of_task(self) -> tuple[int, ...]:
        """By which look each task is judged, `T` indices."""
        looks = {skill: number for number, skill in enumerate(self.regions, 1)}
        return tuple(looks.get(skill, 0) for skill in self.skills) or (0,) * self.tasks


class Judgement(NamedTuple):
    """What the network says of a batch of episodes.

    Attributes:
        logits: `(B, T)`, the mean over the views present; NaN for a task of whose look there is no image.
        by_view: `(B, V, T)`, NaN where a view is missing.
        distances: `(B, T)`, how far the tower's features, by the task's look, are from those of usual episodes of its
            skill: mean square in their standard deviations, so about 1 for episodes like those.
    """

    logits: torch.Tensor
    by_view: torch.Tensor
    distances: torch.Tensor


class SuccessDetector(nn.Module):
    """Final images to one logit per task; their `sigmoid`, calibrated, is p(success)."""

    one_hot: torch.Tensor
    usual: torch.Tensor
    spread: torch.Tensor

    def __init__(self, configuration: DetectorConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        self.look_of_task = list(configuration.look_of_task)
        self._tasks_of_look = [
            [task for task, look in enumerate(self.look_of_task) if look == number]
            for number in range(configuration.looks.shape[0])
        ]
        self.tower = VisionTower(configuration.preset, configuration.norm)
        self.fusion = FusionHead(
            configuration.preset, configuration.norm, (configuration.tasks,), configuration.image_size
        )
        self.register_buffer('one_hot', torch.eye(configuration.tasks), persistent=False)
        # The features that are usual, by task; part of the weights, because they change with them.
        features = 2 * CHANNELS[configuration.preset]
        self.register_buffer('usual', torch.zeros(configuration.tasks, features))
        self.register_buffer('spread', torch.ones(configuration.tasks, features))

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Judge final images for every task.

        Args:
            images: `(B, L, V, 3, S, S) float in [0, 1]`, looks and views as configured.
            present: `(B, L, V) bool`, which images there are.

        Returns:
            `(B, T)` logits; zero for a task of whose look there is no image.
        """
        return self.of_images(images[present], present)

    def of_images(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Do as `forward`, with the images present alone.

        Args:
            images: `(sum(present), 3, S, S) float in [0, 1]`, by episode, look and view.
            present: As for `forward`.
        """
        return self._by_task(self._logits(self.tower(images), present), present)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature maps `(N, C, h, w)` of images `(N, S, S, 3) uint8` RGB."""
        return self.tower(images.movedim(-1, -3).float() / 255)

    def judge(self, maps: torch.Tensor, present: torch.Tensor) -> Judgement:
        """Judge final images for every task, view by view too.

        Args:
            maps: From `maps`, of the images present, by episode, look and view.
            present: As for `forward`.
        """
        logits = self._logits(maps, present)
        by_view = logits.masked_fill(~present[:, self.look_of_task], torch.nan).transpose(1, 2)
        features = self.features(maps, present)[:, self.look_of_task]
        distances = ((features - self.usual) / self.spread).square().mean(dim=2)
        unseen = ~present.any(dim=2)[:, self.look_of_task]
        return Judgement(self._by_task(logits, present).masked_fill(unseen, torch.nan), by_view, distances)

    def features(self, maps: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the tower's features `(B, L, K)`: mean and spread of every map, the mean over the views present.

        Args:
            maps: As for `judge`.
            present: As for `forward`.
        """
        places = maps.float().flatten(2)
        mean, number = places.mean(dim=2), places.shape[2]
        # What `std` computes, in a seventh of its time; its gradient is none, for a map that is the same everywhere.
        variance = (places.square().mean(dim=2) - mean.square()) * (number / max(number - 1, 1))
        pooled = torch.cat([mean, variance.clamp_min(0).sqrt()], dim=1)
        episode, look, _ = present.nonzero(as_tuple=True)
        total = pooled.new_zeros(*present.shape[:2], pooled.shape[1]).index_put(
            (episode, look), pooled, accumulate=True
        )
        return total / present.sum(dim=2, keepdim=True).clamp_min(1)

    def expect(self, features: torch.Tensor, own_skill: np.ndarray) -> None:
        """Take the features of some episodes as the usual ones.

        Args:
            features: `(N, L, K)`, from `features`.
            own_skill: `(N, T) bool`, the episodes that count for a task; a task with less than two is as before.
        """
        for task in np.flatnonzero(own_skill.sum(axis=0) > 1).tolist():
            of_task = features[own_skill[:, task], self.look_of_task[task]].to(self.usual.device)
            spread = of_task.std(dim=0)
            self.usual[task] = of_task.mean(dim=0)
            # A map that is always silent must not turn a first faint sound into an enormous distance.
            self.spread[task] = spread.clamp_min(float(spread.mean()) * SILENT + 1e-6)

    def _logits(self, maps: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, T, V)`, zero where a view is missing, from the feature maps of the images present."""
        look = present.nonzero()[:, 1]
        logits = maps.new_zeros(len(present), self.configuration.tasks, present.shape[2], dtype=torch.float32)
        for number, tasks in enumerate(self._tasks_of_look):
            episode, view = present[:, number].nonzero(as_tuple=True)
            if tasks and len(episode):
                chosen = maps if present.shape[1] == 1 else maps[look == number]
                of_images = self.fusion(chosen, [self.one_hot[list(tasks)].expand(len(chosen), -1, -1)])
                logits[episode[:, None], torch.tensor(tasks, device=maps.device), view[:, None]] = of_images.float()
        return logits

    def _by_task(self, logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the mean over the views present, `(B, T)`, of logits `(B, T, V)`."""
        return logits.sum(dim=2) / present[:, self.look_of_task].sum(dim=2).clamp_min(1)

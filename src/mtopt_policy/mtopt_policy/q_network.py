"""The multi-task Q-function Q(s, a, task) (paper section IV-A, Appendix X-A, Fig. 9)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from mtopt_core.configuration import MAIN, WRIST
from mtopt_core.fusion_head import FusionHead
from mtopt_core.layers import CHANNELS, Norm, Preset
from mtopt_core.vision_tower import VisionTower
from mtopt_policy.action_space import STATE, StateInput
from mtopt_policy.value import BinaryValue, CategoricalValue

ACTION_BLOCKS = (3, 2, 1, 1, 1)

# Brings lengths, a few tenths of a metre, to the size of the other inputs.
STATE_SCALE: dict[StateInput, float] = {'gripper_closed': 1.0, 'height_to_bottom': 10.0, 'gripper_width': 10.0}


class NetworkConfiguration(BaseModel):
    """What a trainer preset chooses of the Q-network.

    Attributes:
        preset: Its layers: `paper` (Grasping44 and a block for the task) or `small` (trains on a CPU).
        views: Cameras, one tower each; their feature maps are summed.
        image_size: Side of the square images, px.
        norm: `batch` (as the paper) or `group`.
        state: What it is told of the robot; the paper's know gripper_closed and height_to_bottom. With gripper_width
            it can tell a grasp from a miss.
        heads: `one`, or `per_task`: the last three fully connected layers n times, one for each task (paper Fig. 10).
            The task is an input either way.
        value_bins: Bins of a categorical value (see `CategoricalValue`, 51 is usual); none for the paper's one logit.
        task_embedding: Length of a learned vector per task in place of the one-hot (see `TaskEmbedding`); none for the
            paper's one-hot.
        layer_norm: Whether the fully connected layers at the end have layer normalisation; else those of `paper` have
            `norm` and those of `small` none (Q2-Opt's robotic critic, and BRC, arXiv 2505.23150, normalise them).
        context_map: Whether action, state and task become a map, a vector for every place, before they meet the
            image's; else the paper's one vector, added everywhere.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    preset: Preset
    views: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: int
    norm: Norm
    state: tuple[StateInput, ...] = ('gripper_closed', 'height_to_bottom')
    heads: Literal['one', 'per_task'] = 'one'
    value_bins: Annotated[int, Field(ge=2)] | None = None
    task_embedding: Annotated[int, Field(gt=0)] | None = None
    layer_norm: bool = False
    context_map: bool = False


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


class TaskEmbedding(nn.Module):
    """A learned vector per task, in place of the one-hot (BRC, arXiv 2505.23150).

    The one-hot's fully connected layer already adds a learned vector. This one multiplies too: it scales every channel
    of the feature map, so that a task can choose what of the image counts (FiLM, arXiv 1709.07871, without its shift,
    which the context is).

    Args:
        tasks: Number of tasks T.
        size: Length of the vector E.
        channels: Channels of the feature map C.
    """

    def __init__(self, tasks: int, size: int, channels: int) -> None:
        super().__init__()
        self.vectors = nn.Linear(tasks, size, bias=False)
        self.gain = nn.Linear(size, channels)
        # All tasks start from the map as it is.
        nn.init.zeros_(self.gain.weight)
        nn.init.ones_(self.gain.bias)

    def forward(self, task: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors `(B, E)` and the channels' factors `(B, C)` of one-hot tasks `(B, T)`."""
        vector = self.vectors(task)
        return vector, self.gain(vector)


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
        self.task_embedding = (
            TaskEmbedding(configuration.tasks, configuration.task_embedding, CHANNELS[preset])
            if configuration.task_embedding
            else None
        )
        self.towers = nn.ModuleList(VisionTower(preset, norm) for _ in configuration.views)
        self.fusion = FusionHead(
            preset,
            norm,
            (*ACTION_BLOCKS, *(1 for _ in configuration.state), configuration.task_embedding or configuration.tasks),
            configuration.image_size,
            heads=configuration.tasks if configuration.heads == 'per_task' else 1,
            outputs=self.value.outputs,
            layer_norm=configuration.layer_norm,
            context_map=configuration.context_map,
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
            state: `(B, 3)`, encoded by `encode_state`; what the network is not told is ignored.
            task: `(B, T)` one-hot.

        Returns:
            `(B, N)` logits.
        """
        return self.score(self.embed(features, actions, state, task), task)

    def embed(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return what the last layer sees, `(B, N, 64)`; arguments as in `head`."""
        told = [state[:, None, [STATE.index(name)]] * STATE_SCALE[name] for name in self.configuration.state]
        vector = task
        if self.task_embedding is not None:
            vector, gain = self.task_embedding(task)
            features = features * gain[..., None, None]
        blocks = [*actions.split(ACTION_BLOCKS, dim=2), *told, vector[:, None]]
        return self.fusion.embed(features, blocks, task)

    def score(self, embedding: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        """Return the logits `(B, N)`, always float32, of what `embed` returned for tasks `(B, T)`."""
        return self.value.logit(self.fusion.score(embedding, task))

    def outputs(
        self,
        images: torch.Tensor,
        actions: torch.Tensor,
        state: torch.Tensor,
        task: torch.Tensor,
        of: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return what `value` makes logits of, and the losses.

        Args:
            images: As in `tower`.
            actions: One for each, `(B, 8)`.
            state: `(B, 3)`.
            task: One-hot, `(P, T)`.
            of: Which of the B each task is for, `(P,) int64`; none when there is one for each.

        Returns:
            `(P, K)`, always float32.
        """
        features, actions = self.tower(images), actions[:, None]
        if of is not None:
            features, actions, state = features[of], actions[of], state[of]
        return self.fusion.score(self.embed(features, actions, state, task), task)[:, 0]

    def forward(
        self, images: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `(B,)` of one action `(B, 8)` per image; the other arguments as in `tower` and `head`."""
        return self.value.logit(self.outputs(images, actions, state, task))

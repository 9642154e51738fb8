"""The layers that image tower and fusion head are built of.

Sizes and constants of the preset `paper` follow Grasping44, the network QT-Opt's authors released (tensor2robot,
research/qtopt).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Preset = Literal['paper', 'small']
Norm = Literal['batch', 'group']

CHANNELS: dict[Preset, int] = {'paper': 64, 'small': 32}


class SamePool(nn.Module):
    """Max pooling whose stride is its window, padded as TensorFlow's SAME: ceil(n / k) places, odd padding last."""

    def __init__(self, window: int):
        super().__init__()
        self.window = window

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool maps `(B, C, h, w)`."""
        first = [(-int(size) % self.window) // 2 for size in maps.shape[2:]]
        return functional.max_pool2d(maps, self.window, padding=first, ceil_mode=True)


class LinearPerTask(nn.Module):
    """A fully connected layer for every task; an example goes through its own task's only."""

    def __init__(self, tasks: int, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tasks, outputs, inputs))
        if bias:
            self.bias = nn.Parameter(torch.empty(tasks, outputs))
        else:
            self.register_parameter('bias', None)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / sqrt(inputs), 1 / sqrt(inputs))

    def forward(self, examples: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        """Return `(B * N, outputs)` of examples `(B * N, inputs)`, N for each of `(B, T)` one-hot tasks."""
        # The one-hot picks by multiplying, which every backend does as fast as it would index.
        weight = (task @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])
        result = examples.unflatten(0, (len(task), -1)) @ weight.transpose(1, 2)
        if self.bias is not None:
            result = result + (task @ self.bias)[:, None]
        return result.flatten(0, 1)


def through(layers: Iterable[nn.Module], examples: torch.Tensor, task: torch.Tensor | None) -> torch.Tensor:
    """Return what layers one after the other make of examples, of those per task the layer of `task`."""
    for layer in layers:
        examples = layer(examples, task) if isinstance(layer, LinearPerTask) else layer(examples)
    return examples


def convolution(
    norm: Norm, channels: int, kernel: int, *, stride: int = 1, padding: int | None = None
) -> list[nn.Module]:
    """Return a convolution, its normalisation and ReLU."""
    padding = kernel // 2 if padding is None else padding
    layer = nn.Conv2d(channels, channels, kernel, stride, padding, bias=False)
    return [layer, *norm_relu(norm, channels)]


def fully_connected(linear: Callable[..., nn.Module], norm: Norm | None, inputs: int, outputs: int) -> list[nn.Module]:
    """Return a fully connected layer, of one task or one per task, its normalisation if any, and ReLU."""
    if norm is None:
        return [linear(inputs, outputs), nn.ReLU(inplace=True)]
    return [linear(inputs, outputs, bias=False), *norm_relu(norm, outputs, map_=False)]


def norm_relu(norm: Norm, channels: int, *, scale: bool = True, map_: bool = True) -> list[nn.Module]:
    """Return normalisation and ReLU, with Grasping44's constants; without scale its weight stays 1."""
    layer: nn.Module
    if norm == 'batch':
        layer = (nn.BatchNorm2d if map_ else nn.BatchNorm1d)(channels, eps=1e-3, momentum=3e-4)
    elif map_:
        # One group: in channels-last bfloat16 on a CPU six times faster than eight.
        layer = nn.GroupNorm(1, channels)
    else:
        # Of vectors one group is this, with the same weights; OpenVINO in bfloat16 gets the other one wrong.
        layer = nn.LayerNorm(channels)
    layer.weight.requires_grad_(scale)
    return [layer, nn.ReLU(inplace=True)]


def initialise_as_paper(layer: nn.Module) -> None:
    """Draw weights from a truncated normal of standard deviation 0.01, zero biases (Grasping44)."""
    _initialise(layer, lambda weight: nn.init.trunc_normal_(weight, std=0.01, a=-0.02, b=0.02))


def initialise_for_relu(layer: nn.Module) -> None:
    """Draw weights that keep the signal's size through ReLU layers without normalisation (He et al. 2015)."""
    _initialise(layer, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity='relu'))


def _initialise(layer: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    if not isinstance(layer, nn.Conv2d | nn.Linear | LinearPerTask):
        return
    for weight in layer.weight if isinstance(layer, LinearPerTask) else [layer.weight]:
        draw(weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)

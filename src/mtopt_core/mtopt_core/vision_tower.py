"""The convolutional network that Q-function and success detector share (paper Appendix X-A, Fig. 9).

An image tower ends in a feature map. Vectors (action, state, one-hot task) become one context vector that is added to
every place of the map; more convolutions and fully connected layers turn the sum into one logit. The success detector
is the same network without the action's blocks (paper section V).

Layer sizes of `paper` follow Grasping44, the network QT-Opt's authors released (tensor2robot, research/qtopt).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import ceil
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from mtopt_core.errors import ConfigurationError

Preset = Literal['paper', 'small']
Norm = Literal['batch', 'group']

CHANNELS: dict[Preset, int] = {'paper': 64, 'small': 32}
STRIDE: dict[Preset, int] = {'paper': 18, 'small': 8}


def map_size(preset: Preset, image_size: int) -> int:
    """Return the side of the feature map of a square image of that side, both in px.

    Raises:
        ConfigurationError: The preset cannot work on images of that size.
    """
    smallest = {'paper': 218, 'small': 16}[preset]
    if image_size < smallest or image_size % 2:
        raise ConfigurationError(
            f'network preset {preset} needs an even image size of at least {smallest} px, not {image_size}'
        )
    return ceil(image_size / STRIDE[preset])


class VisionTower(nn.Module):
    """Image to feature map.

    `paper`: the 7 convolutions before the fusion, 472 px to 27 x 27 x 64. `small`: 4 convolutions, 64 px to
    8 x 8 x 32.
    """

    def __init__(self, preset: Preset, norm: Norm):
        super().__init__()
        width = CHANNELS[preset]
        if preset == 'paper':
            self.layers = nn.Sequential(
                nn.Conv2d(3, width, 6, stride=2, padding=2),
                *_norm_relu(norm, width, scale=False),
                _SamePool(3),
                *(layer for _ in range(6) for layer in _convolution(norm, width, 5)),
                _SamePool(3),
            )
            self.apply(_initialise_as_paper)
        else:
            self.layers = nn.Sequential(
                nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False),
                _SamePool(2),
                *_norm_relu(norm, width),
                *_convolution(norm, width, 3),
                *_convolution(norm, width, 3),
                *_convolution(norm, width, 3, stride=2),
            )
            self.apply(_initialise_for_relu)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature map `(B, C, h, w)` of images `(B, 3, S, S) float in [0, 1]`."""
        # In this order a CPU pools and convolves bfloat16 several times faster.
        return self.layers(images.contiguous(memory_format=torch.channels_last))


class FusionHead(nn.Module):
    """Feature map and vectors to one logit per vector.

    Args:
        preset: `paper` or `small`.
        norm: Normalisation of every layer.
        blocks: Width of each vector block; every block has a fully connected layer of its own, their outputs are
            summed.
        image_size: Side of the images, px.
    """

    def __init__(self, preset: Preset, norm: Norm, blocks: Sequence[int], image_size: int):
        super().__init__()
        width, side = CHANNELS[preset], map_size(preset, image_size)
        hidden = {'paper': 256, 'small': 64}[preset]
        self.blocks = nn.ModuleList(nn.Linear(block, hidden) for block in blocks)
        self.fuse = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self._pool = {'paper': 1, 'small': 2}[preset]
        # Which of the kernel's rows (and columns) lie on the map at its first place, inside, and at its last place.
        self.register_buffer('_inside', torch.tensor([[0.0, 1, 1], [1, 1, 1], [1, 1, 0]]), persistent=False)
        if preset == 'paper':
            self.context = nn.Sequential(
                *_norm_relu(norm, hidden, scale=False, map_=False), *_fully_connected(norm, hidden, width)
            )
            self.trunk = nn.Sequential(
                *_norm_relu(norm, width),
                *(layer for _ in range(5) for layer in _convolution(norm, width, 3)),
                _SamePool(2),
                *(layer for _ in range(3) for layer in _convolution(norm, width, 3, padding=0)),
                nn.Flatten(),
                *_fully_connected(norm, width * (ceil(side / 2) - 6) ** 2, width),
                *_fully_connected(norm, width, width),
            )
            self.logit = nn.Linear(width, 1)
            self.apply(_initialise_as_paper)
        else:
            self.context = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width))
            self.trunk = nn.Sequential(
                # The pooling, which `_fuse` does; it has a place because checkpoints count the layers.
                nn.Identity(),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Flatten(),
                nn.Linear(width * ceil(side / 2) ** 2, 64),
                nn.ReLU(inplace=True),
                nn.Linear(64, 64),
                nn.ReLU(inplace=True),
            )
            self.apply(_initialise_for_relu)
            self.logit = nn.Linear(64, 1)
            # Successes are rare: starting near Q = 0.1 spares the first targets from a Q of one half everywhere.
            nn.init.constant_(self.logit.bias, -2.0)

    def forward(self, features: torch.Tensor, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score N vectors beside each image.

        Args:
            features: `(B, C, h, w)`, from the tower.
            blocks: One `(B, N, k)` or `(B, 1, k)` tensor per block, in the order of the widths given.

        Returns:
            `(B, N)` logits.
        """
        return self.score(self.embed(features, blocks))

    def embed(self, features: torch.Tensor, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return what the last layer sees, `(B, N, 64)`; arguments as in `forward`."""
        hidden = sum(layer(block) for layer, block in zip(self.blocks, blocks, strict=True))
        batch, number = hidden.shape[:2]
        context = self.context(hidden.flatten(0, 1))
        return self.trunk(self._fuse(features, context, number)).unflatten(0, (batch, number))

    def score(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the logits `(B, N)` of what `embed` returned.

        In float32 whatever the rest is computed in: a logit of bfloat16 has eight bits, too few to rank 64 actions.
        """
        with torch.autocast(embedding.device.type, enabled=False):
            return self.logit(embedding.float()).squeeze(-1)

    def _fuse(self, features: torch.Tensor, context: torch.Tensor, number: int) -> torch.Tensor:
        """Convolve `features + context` and pool as the preset does, `(B * N, C, h, w)`.

        A convolution is linear, so the map is convolved once per image, not N times. The context is the same at every
        place, and convolving a constant map gives nine values only: corners, edges and inside. Pooling takes the
        larger of one place of every window and the next: the unpooled maps of all actions are never in memory.
        """
        window, (height, width) = self._pool, features.shape[2:]
        odd = (0, -width % window, 0, -height % window)
        maps = functional.pad(self.fuse(features), odd, value=-torch.inf).permute(0, 2, 3, 1)
        kind = functional.pad(_thirds(height, context.device)[:, None] * 3 + _thirds(width, context.device), odd)
        nine = self._constant_map(context)

        def at(place: tuple[int, ...]) -> torch.Tensor:
            """Return the sum at one place of every window, `(B, N, windows, C)`."""
            rows, columns = (slice(first, None, window) for first in place)
            spread = nine.index_select(1, kind[rows, columns].flatten()).unflatten(0, (-1, number))
            return spread.add_(maps[:, rows, columns].flatten(1, 2)[:, None])

        pooled = reduce(torch.maximum, map(at, product(range(window), repeat=2)))
        return pooled.flatten(0, 1).unflatten(1, kind[::window, ::window].shape).permute(0, 3, 1, 2)

    def _constant_map(self, context: torch.Tensor) -> torch.Tensor:
        """Convolve maps that are the same everywhere: `(M, C)` to its values at the nine kinds of places, `(M, 9, C)`.

        Each is a sum of those of the kernel's taps that lie on the map, times the context.
        """
        kernels = torch.einsum('oiyx,py,qx->ipqo', self.fuse.weight, self._inside, self._inside)
        return (context @ kernels.flatten(1)).unflatten(1, (9, -1))


def _thirds(size: int, device: torch.device) -> torch.Tensor:
    """Return 0 for the first place, 2 for the last, 1 for those between, `(size,) int64`."""
    places = torch.arange(size, device=device)
    return (places > 0).long() + (places == size - 1).long()


class _SamePool(nn.Module):
    """Max pooling whose stride is its window, padded as TensorFlow's SAME: ceil(n / k) places, odd padding last."""

    def __init__(self, window: int):
        super().__init__()
        self.window = window

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        first = [(-int(size) % self.window) // 2 for size in maps.shape[2:]]
        return functional.max_pool2d(maps, self.window, padding=first, ceil_mode=True)


def _convolution(
    norm: Norm, channels: int, kernel: int, *, stride: int = 1, padding: int | None = None
) -> list[nn.Module]:
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(channels, channels, kernel, stride, padding, bias=False)
    return [convolution, *_norm_relu(norm, channels)]


def _fully_connected(norm: Norm, inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), *_norm_relu(norm, outputs, map_=False)]


def _norm_relu(norm: Norm, channels: int, *, scale: bool = True, map_: bool = True) -> list[nn.Module]:
    """Return normalisation and ReLU, with Grasping44's constants; without scale its weight stays 1."""
    layer: nn.Module
    if norm == 'batch':
        layer = (nn.BatchNorm2d if map_ else nn.BatchNorm1d)(channels, eps=1e-3, momentum=3e-4)
    else:
        # One group: in channels-last bfloat16 on a CPU six times faster than eight.
        layer = nn.GroupNorm(1, channels)
    layer.weight.requires_grad_(scale)
    return [layer, nn.ReLU(inplace=True)]


def _initialise_as_paper(layer: nn.Module) -> None:
    """Draw weights from a truncated normal of standard deviation 0.01, zero biases (Grasping44)."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _initialise_for_relu(layer: nn.Module) -> None:
    """Draw weights that keep the signal's size through ReLU layers without normalisation (He et al. 2015)."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

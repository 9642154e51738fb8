"""From feature map, task and camera to a logit, whatever the place of things in the image.

What decides whether an object lies on the plate is where it lies in relation to the plate, and the plate lies somewhere
else in every scene. A fully connected layer over the whole map, as in `mtopt_core.fusion_head`, has to learn that for
every place anew; convolutions that see the whole plate, pooled over the map, learn it once. Each map leaves four
numbers: its maximum, its mean, and where it is strong (a spatial soft-argmax, Levine et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from mtopt_core.layers import CHANNELS, Norm, Preset, convolution, initialise_for_relu, norm_relu

BLOCKS = 2
"""Residual blocks: with the tower before them, what a place of the map sees is wider than the plate."""
HIDDEN = 64
SHARPNESS = 2.0
"""Of the soft-argmax, per unit of a map."""


class Residual(nn.Module):
    """Two convolutions beside a way past them, which they begin by changing little."""

    def __init__(self, norm: Norm, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *convolution(norm, channels, 3),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            *norm_relu(norm, channels)[:1],
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps of the same shape."""
        return functional.relu(maps + self.layers(maps))


class PooledHead(nn.Module):
    """Feature maps of single images to one logit per task.

    Args:
        preset: Says how many maps the tower makes.
        norm: Normalisation of the residual blocks.
        blocks: Width of each vector block, as for `FusionHead`: here the tasks' one-hot and the cameras'.
    """

    def __init__(self, preset: Preset, norm: Norm, blocks: Sequence[int]) -> None:
        super().__init__()
        width = CHANNELS[preset]
        self.residual = nn.Sequential(*(Residual(norm, width) for _ in range(BLOCKS)))
        self.fuse = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(block, HIDDEN) for block in blocks)
        self.context = nn.Sequential(nn.LayerNorm(HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, width))
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.embed = nn.Sequential(
            nn.Linear(4 * width, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True)
        )
        self.apply(initialise_for_relu)
        for block in self.residual:
            nn.init.constant_(block.layers[-1].weight, 0.5)
        self.logit = nn.Linear(HIDDEN, 1)
        nn.init.normal_(self.logit.weight, std=0.05)
        nn.init.zeros_(self.logit.bias)

    def forward(self, features: torch.Tensor, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score N vectors beside each image, as `FusionHead.forward` does.

        Args:
            features: `(B, C, h, w)`, from the tower.
            blocks: One `(B, N, k)` or `(B, 1, k)` tensor per block.

        Returns:
            `(B, N)` logits, float32.
        """
        context = self.context(sum(layer(block) for layer, block in zip(self.blocks, blocks, strict=True)))
        maps = self.fuse(self.residual(features))[:, None] + context[..., None, None]
        maps = functional.relu(self.convolution(functional.relu(maps.flatten(0, 1))))
        embedding = self.embed(torch.cat(_numbers(maps), dim=1))
        with torch.autocast(embedding.device.type, enabled=False):
            return self.logit(embedding.float()).unflatten(0, context.shape[:2])[..., 0]


def _numbers(maps: torch.Tensor) -> list[torch.Tensor]:
    """Return maximum, mean, and row and column where maps `(M, C, h, w)` are strong, `(M, C)` each."""
    flat = maps.flatten(2)
    height, width = maps.shape[2:]
    share = (flat.float() * SHARPNESS).softmax(dim=2).unflatten(2, (height, width))
    rows, columns = (torch.linspace(-1, 1, size, device=maps.device) for size in (height, width))
    row, column = (share.sum(dim=3) * rows).sum(dim=2), (share.sum(dim=2) * columns).sum(dim=2)
    return [flat.amax(dim=2), flat.mean(dim=2), row.to(maps.dtype), column.to(maps.dtype)]

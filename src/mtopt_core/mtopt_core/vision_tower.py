"""The image tower that Q-function and success detector share (paper Appendix X-A, Fig. 9)."""

from __future__ import annotations

from math import ceil

import torch
from torch import nn

from mtopt_core.errors import ConfigurationError
from mtopt_core.layers import (
    CHANNELS,
    Norm,
    Preset,
    SamePool,
    convolution,
    initialise_as_paper,
    initialise_for_relu,
    norm_relu,
)

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
                *norm_relu(norm, width, scale=False),
                SamePool(3),
                *(layer for _ in range(6) for layer in convolution(norm, width, 5)),
                SamePool(3),
            )
            self.apply(initialise_as_paper)
        else:
            self.layers = nn.Sequential(
                nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False),
                SamePool(2),
                *norm_relu(norm, width),
                *convolution(norm, width, 3),
                *convolution(norm, width, 3),
                *convolution(norm, width, 3, stride=2),
            )
            self.apply(initialise_for_relu)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature map `(B, C, h, w)` of images `(B, 3, S, S) float in [0, 1]`."""
        # In this order a CPU pools and convolves bfloat16 several times faster.
        return self.layers(images.contiguous(memory_format=torch.channels_last))

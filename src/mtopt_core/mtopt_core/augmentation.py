"""What training does to images so that a network judges the scene and not the pixels' accidents.

Random crop and photometric distortion as in QT-Opt's released preprocessor (tensor2robot, image_transformations.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def shift(images: np.ndarray, largest: int, rng: np.random.Generator) -> np.ndarray:
    """Shift every image by a random number of pixels, repeating its border.

    Args:
        images: `(..., S, S, 3) uint8`.
        largest: Largest shift in each direction, px.
        rng: Source of the shifts.

    Returns:
        `(..., S, S, 3) uint8`, a new array.
    """
    size = images.shape[-2]
    flat = images.reshape(-1, *images.shape[-3:])
    padded = np.pad(flat, ((0, 0), (largest, largest), (largest, largest), (0, 0)), mode='edge')
    shifted = np.empty_like(flat)
    for place, (y, x) in enumerate(rng.integers(0, 2 * largest + 1, (len(flat), 2))):
        shifted[place] = padded[place, y : y + size, x : x + size]
    return shifted.reshape(images.shape)


def turn(images: torch.Tensor, largest: float, generator: torch.Generator) -> torch.Tensor:
    """Turn every image about its middle by a random angle, repeating its border.

    Args:
        images: `(M, 3, S, S) float`.
        largest: Largest angle, rad.
        generator: Source of the angles, on the images' device.

    Returns:
        `(M, 3, S, S) float`.
    """
    angles = torch.rand(len(images), generator=generator, device=images.device).mul_(2 * largest).sub_(largest)
    cosine, sine, none = angles.cos(), angles.sin(), torch.zeros_like(angles)
    turned = torch.stack([cosine, -sine, none, sine, cosine, none], dim=1).unflatten(1, (2, 3)).to(images.dtype)
    places = functional.affine_grid(turned, list(images.shape), align_corners=False)
    return functional.grid_sample(images, places, padding_mode='border', align_corners=False)


def relight(images: torch.Tensor, brightness: float, contrast: float, generator: torch.Generator) -> torch.Tensor:
    """Change brightness and contrast of every image by a random amount.

    Args:
        images: `(..., 3, S, S) float in [0, 1]`.
        brightness: Largest change of brightness.
        contrast: Largest relative change of contrast.
        generator: Source of the changes, on the images' device.

    Returns:
        `(..., 3, S, S) float in [0, 1]`.
    """
    draws = torch.rand((2, *images.shape[:-3], 1, 1, 1), generator=generator, device=images.device).mul_(2).sub_(1)
    gain = 1 + contrast * draws[0]
    return torch.addcmul(0.5 * (1 - gain) + brightness * draws[1], images, gain).clamp_(0, 1)


def recolour(images: torch.Tensor, tint: float, saturation: float, generator: torch.Generator) -> torch.Tensor:
    """Change the light's colour and the saturation of every image by a random amount.

    Args:
        images: `(..., 3, S, S) float in [0, 1]`.
        tint: Largest relative change of each colour.
        saturation: Largest relative change of the distance from grey.
        generator: Source of the changes, on the images' device.

    Returns:
        `(..., 3, S, S) float in [0, 1]`.
    """
    places, device = images.shape[:-3], images.device
    gains = torch.rand((*places, 3, 1), generator=generator, device=device).mul_(2 * tint).add_(1 - tint)
    strength = torch.rand((*places, 1, 1), generator=generator, device=device)
    strength = strength.mul_(2 * saturation).add_(1 - saturation)
    # Both are linear: one small matrix per image goes over the pixels once.
    grey = torch.full((3, 3), 1 / 3, device=device)
    matrix = gains * (strength * torch.eye(3, device=device) + (1 - strength) * grey)
    return (matrix @ images.flatten(-2)).unflatten(-1, images.shape[-2:]).clamp_(0, 1)

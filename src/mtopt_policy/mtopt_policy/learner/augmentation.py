"""What training does to images so that Q depends on the scene and not on the pixels' accidents.

Random crop and photometric distortion as in QT-Opt's released preprocessor (tensor2robot, image_transformations.py);
Q-targets are computed on undistorted images.
"""

from __future__ import annotations

import numpy as np
import torch


def shift(images: np.ndarray, largest: int, rng: np.random.Generator) -> np.ndarray:
    """Shift every image by a random number of pixels, repeating its border.

    Args:
        images: `(V, B, S, S, 3) uint8`.
        largest: Largest shift in each direction, px.
        rng: Source of the shifts.

    Returns:
        `(V, B, S, S, 3) uint8`.
    """
    views, batch, size = images.shape[:3]
    padded = np.pad(images, ((0, 0), (0, 0), (largest, largest), (largest, largest), (0, 0)), mode='edge')
    shifted = np.empty_like(images)
    for place, (y, x) in zip(
        np.ndindex(views, batch), rng.integers(0, 2 * largest + 1, (views * batch, 2)), strict=True
    ):
        shifted[place] = padded[place][y : y + size, x : x + size]
    return shifted


def relight(images: torch.Tensor, brightness: float, contrast: float, generator: torch.Generator) -> torch.Tensor:
    """Change brightness and contrast of every image by a random amount.

    Args:
        images: `(B, V, 3, S, S) float in [0, 1]`.
        brightness: Largest change of brightness.
        contrast: Largest relative change of contrast.
        generator: Source of the changes, on the images' device.

    Returns:
        `(B, V, 3, S, S) float in [0, 1]`.
    """
    draws = torch.rand((2, *images.shape[:2], 1, 1, 1), generator=generator, device=images.device).mul_(2).sub_(1)
    gain = 1 + contrast * draws[0]
    return (images * gain + (0.5 * (1 - gain) + brightness * draws[1])).clamp_(0, 1)

"""From feature map and vectors to a value (paper Appendix X-A, Fig. 9).

Vectors (action, state, one-hot task) become one context vector that is added to every place of the image tower's
feature map; more convolutions and fully connected layers turn the sum into one logit. The success detector is the same
network without the action's blocks (paper section V).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from itertools import product
from math import ceil

import torch
from torch import nn
from torch.nn import functional

from mtopt_core.errors import ConfigurationError
from mtopt_core.layers import (
    CHANNELS,
    LinearPerTask,
    Norm,
    Preset,
    SamePool,
    convolution,
    fully_connected,
    initialise_as_paper,
    initialise_for_relu,
    norm_relu,
    through,
)
from mtopt_core.vision_tower import map_size


class FusionHead(nn.Module):
    """Feature map and vectors to one logit per vector.

    Args:
        preset: `paper` or `small`.
        norm: Normalisation of every layer; `small` has none here.
        blocks: Width of each vector block; every block has a fully connected layer of its own, their outputs are
            summed.
        image_size: Side of the images, px.
        heads: Number of heads: each has the last three fully connected layers to itself (paper Fig. 10), normalisation
            excepted.
        outputs: Numbers per vector: one logit, or several whose meaning is the caller's.
        layer_norm: Whether the fully connected layers at the end have layer normalisation, whatever `norm` is.
        context_map: Whether the context is a map of its own, with a vector for every place, in place of one vector for
            all of them: a displacement then points somewhere in the image. For `small`.
    """

    def __init__(
        self,
        preset: Preset,
        norm: Norm,
        blocks: Sequence[int],
        image_size: int,
        *,
        heads: int = 1,
        outputs: int = 1,
        layer_norm: bool = False,
        context_map: bool = False,
    ):
        super().__init__()
        width, side = CHANNELS[preset], map_size(preset, image_size)
        if context_map and preset != 'small':
            raise ConfigurationError(f'preset {preset} has no context map; leave context_map out')
        self._context_map = context_map
        hidden = {'paper': 256, 'small': 64}[preset]
        self.blocks = nn.ModuleList(nn.Linear(block, hidden) for block in blocks)
        self.fuse = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self._pool = {'paper': 1, 'small': 2}[preset]
        # Which of the kernel's rows (and columns) lie on the map at its first place, inside, and at its last place.
        self.register_buffer('_inside', torch.tensor([[0.0, 1, 1], [1, 1, 1], [1, 1, 0]]), persistent=False)
        linear = nn.Linear if heads == 1 else partial(LinearPerTask, heads)
        if preset == 'paper':
            self.context = nn.Sequential(
                *norm_relu(norm, hidden, scale=False, map_=False), *fully_connected(nn.Linear, norm, hidden, width)
            )
            convolutions = [
                *norm_relu(norm, width),
                *(layer for _ in range(5) for layer in convolution(norm, width, 3)),
                SamePool(2),
                *(layer for _ in range(3) for layer in convolution(norm, width, 3, padding=0)),
            ]
            side_at_end, last_norm = ceil(side / 2) - 6, norm
        else:
            self.context = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(inplace=True))
            if context_map:
                self.context.extend(nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(inplace=True)))
            self.context.append(nn.Linear(hidden, width * side**2 if context_map else width))
            convolutions = [
                # The pooling, which `_fuse` does; it has a place because checkpoints count the layers.
                nn.Identity(),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(inplace=True),
            ]
            side_at_end, last_norm = ceil(side / 2), None
        last_norm = 'group' if layer_norm else last_norm
        self.trunk = nn.Sequential(
            *convolutions,
            nn.Flatten(),
            *fully_connected(linear, last_norm, width * side_at_end**2, 64),
            *fully_connected(linear, last_norm, 64, 64),
        )
        self.apply(initialise_as_paper if preset == 'paper' else initialise_for_relu)
        self.logit = linear(64, outputs)
        if preset == 'paper':
            self.logit.apply(initialise_as_paper)
        else:
            # Successes are rare: starting near Q = 0.1 spares the first targets from a Q of one half everywhere.
            nn.init.constant_(self.logit.bias, -2.0)

    def forward(self, features: torch.Tensor, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Score N vectors beside each image, with one head and one output.

        Args:
            features: `(B, C, h, w)`, from the tower.
            blocks: One `(B, N, k)` or `(B, 1, k)` tensor per block, in the order of the widths given.

        Returns:
            `(B, N)` logits.
        """
        return self.score(self.embed(features, blocks))[..., 0]

    def embed(
        self, features: torch.Tensor, blocks: Sequence[torch.Tensor], task: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what the last layer sees, `(B, N, 64)`.

        Args:
            features: As in `forward`.
            blocks: As in `forward`.
            task: `(B, heads)` one-hot, which head; not needed when there is one.
        """
        hidden = sum(layer(block) for layer, block in zip(self.blocks, blocks, strict=True))
        batch, number = hidden.shape[:2]
        fuse = self._add_map if self._context_map else self._fuse
        fused = fuse(features, self.context(hidden.flatten(0, 1)), number)
        return through(self.trunk, fused, task).unflatten(0, (batch, number))

    def score(self, embedding: torch.Tensor, task: torch.Tensor | None = None) -> torch.Tensor:
        """Return the outputs `(B, N, outputs)` of what `embed` returned.

        In float32 whatever the rest is computed in: a logit of bfloat16 has eight bits, too few to rank 64 actions.
        """
        with torch.autocast(embedding.device.type, enabled=False):
            return through([self.logit], embedding.float().flatten(0, 1), task).unflatten(0, embedding.shape[:2])

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

    def _add_map(self, features: torch.Tensor, context: torch.Tensor, number: int) -> torch.Tensor:
        """Convolve the features, add each vector's map `(B * N, C * h * w)`, and pool, `(B * N, C, h, w)`."""
        convolved = self.fuse(features)
        maps = context.unflatten(1, convolved.shape[1:]).unflatten(0, (-1, number))
        return functional.max_pool2d((convolved[:, None] + maps).flatten(0, 1), self._pool, ceil_mode=True)

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

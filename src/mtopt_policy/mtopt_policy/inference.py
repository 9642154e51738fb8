"""Running a trained Q-network fast: OpenVINO on a CPU, torch on a GPU. Batch normalisation is folded by both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import torch

from mtopt_core.batching import Batcher
from mtopt_core.compiled import CompiledPart
from mtopt_policy.action_space import DIMENSIONS, STATE
from mtopt_policy.q_network import QNetwork

EMBEDDING = *(f'fusion.{part}.' for part in ('blocks', 'fuse', 'context', 'trunk')), 'task_embedding.'
"""Prefixes of the weights that `QNetwork.embed` uses."""


class Backend(Protocol):
    """A Q-network, split so that the image is looked at once per decision; shapes as in `QNetwork`.

    Policies ask for one decision, B = 1; only `BatchingBackend` asks for more.
    """

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of images `(B, V, 3, S, S) float32 in [0, 1]`, valid until the next call."""

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits `(B, N)` of N actions, on the CPU."""


def backend_for(network: QNetwork, actions: int, threads: int, robots: int = 1) -> Backend:
    """Return the fastest backend here.

    Args:
        network: The network; it is put into evaluation mode.
        actions: Number of actions per call of `head`.
        threads: CPU threads to use.
        robots: Threads that will ask at the same time; their questions are answered in batches.
    """
    if torch.cuda.is_available():
        backend = TorchBackend(network, torch.device('cuda'))
        return backend if robots == 1 else BatchingBackend(dict.fromkeys(range(1, robots + 1), backend))
    if robots == 1:
        return OpenVinoBackend(network, actions, threads)
    # Each size of a batch is compiled for itself; smaller batches are filled up to the next power of two.
    sizes = [2**power for power in range((robots - 1).bit_length() + 1)]
    return BatchingBackend({size: OpenVinoBackend(network, actions, threads, batch=size) for size in sizes})


class BatchingBackend:
    """Answers the policies of several robots together; any thread may ask.

    Args:
        backends: A backend for each size of a batch.
    """

    def __init__(self, backends: Mapping[int, Backend]) -> None:
        # Answered by functions, not by methods: see `Batcher`.
        backends, largest = dict(sorted(backends.items())), max(backends)
        self._towers: Batcher[torch.Tensor, torch.Tensor] = Batcher(partial(_see, backends), largest)
        self._heads: Batcher[tuple[torch.Tensor, ...], torch.Tensor] = Batcher(partial(_score, backends), largest)

    @property
    def batches(self) -> tuple[int, int]:
        """Questions answered so far, and in how many batches."""
        return self._towers.requests + self._heads.requests, self._towers.batches + self._heads.batches

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """See `Backend.tower`; the result stays valid."""
        return self._towers.ask(images)

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """See `Backend.head`."""
        return self._heads.ask((features, actions, state, task))


def _see(backends: Mapping[int, Backend], images: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    size = _size(backends, len(images))
    return backends[size].tower(_filled(images, size)).clone().split(1)[: len(images)]


def _score(backends: Mapping[int, Backend], questions: Sequence[tuple[torch.Tensor, ...]]) -> Sequence[torch.Tensor]:
    size = _size(backends, len(questions))
    features, actions, state, task = (_filled(parts, size) for parts in zip(*questions, strict=True))
    return backends[size].head(features, actions, state, task).clone().split(1)[: len(questions)]


def _size(backends: Mapping[int, Backend], number: int) -> int:
    """Return the size of batch that such a number is filled up to."""
    return next(size for size in backends if size >= number)


def _filled(parts: Sequence[torch.Tensor], size: int) -> torch.Tensor:
    """Return tensors `(1, ...)` as one `(size, ...)`; the last is repeated where there are fewer."""
    return torch.cat([*parts, *[parts[-1]] * (size - len(parts))])


class TorchBackend:
    """The network as it is, on a device."""

    def __init__(self, network: QNetwork, device: torch.device):
        self._network = network.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """See `Backend.tower`."""
        return self._network.tower(images.to(self._device))

    @torch.inference_mode()
    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """See `Backend.head`."""
        vectors = (vector.to(self._device) for vector in (actions, state, task))
        return self._network.head(features, *vectors).cpu()


class OpenVinoBackend:
    """The network compiled for this CPU, in bfloat16 where the CPU computes in it.

    Args:
        network: The network; it is put into evaluation mode.
        actions: Number of actions per call of `head`; compiled for exactly that many.
        threads: CPU threads to use.
        precision: OpenVINO's inference precision; by default bf16 where the CPU has it, else f32.
        batch: Decisions per call, B; compiled for exactly that many.
    """

    def __init__(
        self, network: QNetwork, actions: int, threads: int, precision: str | None = None, batch: int = 1
    ) -> None:
        configuration = network.eval().configuration
        images = torch.rand(batch, len(configuration.views), 3, configuration.image_size, configuration.image_size)
        with torch.inference_mode():
            features = network.tower(images)
        vectors = (
            torch.rand(batch, actions, DIMENSIONS),
            torch.rand(batch, len(STATE)),
            torch.rand(batch, configuration.tasks),
        )
        compiled = partial(
            CompiledPart, network, threads=threads, key=configuration.model_dump_json(), precision=precision
        )
        self._tower = compiled('tower', ('towers.',), (images,))
        self._embed = compiled('embed', EMBEDDING, (features, *vectors))
        self.precision = self._tower.precision
        self._score = network.score

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """See `Backend.tower`."""
        return self._tower(images)

    @torch.inference_mode()
    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """See `Backend.head`."""
        return self._score(self._embed(features, actions, state, task), task)

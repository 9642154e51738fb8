"""Final images through the network, by the batch: logits, view by view too, and how new the images look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mtopt_core.compiled import CompiledPart
from mtopt_core.precision import Precision
from mtopt_core.progress import Report, silent
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.network import SuccessDetector

BATCH = 64


@dataclass(frozen=True)
class Judgements:
    """What a network says of some episodes, as `network.Judgement` explains.

    Attributes:
        logits: `(N, T) float32`, not calibrated, NaN for a task that no image present shows.
        by_view: `(N, V, T) float32`, not calibrated, NaN where a view is missing.
        distances: `(N, T) float32`.
    """

    logits: np.ndarray
    by_view: np.ndarray
    distances: np.ndarray


class Judge:
    """Judges final images with a network as it is at that moment; several threads may ask."""

    def __init__(
        self,
        network: SuccessDetector,
        precision: Precision,
        maps: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """Take a network.

        Args:
            network: On the precision's device, in evaluation mode.
            precision: Where and in which arithmetic.
            maps: What computes `SuccessDetector.maps`; by default the network.
        """
        self.network = network
        self._precision = precision
        self._maps = maps or network.maps

    @classmethod
    def compiled(cls, network: SuccessDetector, precision: Precision, streams: int = 1) -> Judge:
        """Take a network that changes no more, compiled where that is faster.

        Args:
            network: As for `Judge`.
            precision: As for `Judge`.
            streams: Threads that ask at the same time; they share the CPU's, of which there are as many as torch
                may use, one each at least.
        """
        if precision.device.type != 'cpu':
            return cls(network, precision)
        size, key = network.configuration.image_size, network.configuration.model_dump_json()
        example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        threads = max(streams, torch.get_num_threads())
        maps = CompiledPart(
            network, 'maps', ('tower.',), (example,), threads, key=key, any_number=True, streams=streams
        )
        return cls(network, precision, maps)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, present: np.ndarray) -> Judgements:
        """Judge a batch of final images.

        Args:
            images: `(B, L, V, S, S, 3) uint8` RGB, looks and views as configured.
            present: `(B, L, V) bool`; at least one image per episode.
        """
        with self._precision.autocast():
            judged = self.network.judge(*self._seen(images, present))
        return Judgements(*(values.float().cpu().numpy() for values in judged))

    def episodes(self, final_images: FinalImages, episode_ids: Sequence[str], report: Report = silent) -> Judgements:
        """Judge the final images of many episodes, each with at least one view.

        Args:
            final_images: Where the images are.
            episode_ids: `N` episodes.
            report: Told how many of the episodes have been judged.
        """
        tasks, views = self.network.configuration.tasks, len(self.network.configuration.views)
        parts = [Judgements(*(np.empty((0, *shape), np.float32) for shape in ((tasks,), (views, tasks), (tasks,))))]
        for some in _batches(episode_ids, report):
            parts.append(self(final_images.images(some), final_images.present(some)))
        return Judgements(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.by_view for part in parts]),
            np.concatenate([part.distances for part in parts]),
        )

    @torch.inference_mode()
    def features(self, final_images: FinalImages, episode_ids: Sequence[str]) -> torch.Tensor:
        """Return the tower's features of many episodes, `(N, L, K)` on the CPU; arguments as for `episodes`."""
        parts = []
        for some in _batches(episode_ids, silent):
            with self._precision.autocast():
                seen = self._seen(final_images.images(some), final_images.present(some))
                parts.append(self.network.features(*seen).float().cpu())
        return torch.cat(parts)

    def _seen(self, images: np.ndarray, present: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the feature maps of the images that are there, and which they are."""
        pixels = torch.from_numpy(images[present]).to(self._precision.device)
        return self._maps(pixels), torch.from_numpy(present).to(self._precision.device)


def _batches(episode_ids: Sequence[str], report: Report) -> Iterator[Sequence[str]]:
    for first in range(0, len(episode_ids), BATCH):
        report(first, len(episode_ids))
        yield episode_ids[first : first + BATCH]
    report(len(episode_ids), len(episode_ids))

"""Final images through the network, by the batch: logits, view by view too, and how new the images look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

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


@torch.inference_mode()
def judge(network: SuccessDetector, images: np.ndarray, present: np.ndarray, precision: Precision) -> Judgements:
    """Judge a batch of final images.

    Args:
        network: On the precision's device, in evaluation mode.
        images: `(B, L, V, S, S, 3) uint8` RGB, looks and views as configured.
        present: `(B, L, V) bool`; at least one image per episode.
        precision: Where and in which arithmetic.
    """
    with precision.autocast():
        judged = network.judge(_pixels(images, precision), torch.from_numpy(present).to(precision.device))
    return Judgements(*(values.float().cpu().numpy() for values in judged))


def judge_episodes(
    network: SuccessDetector,
    final_images: FinalImages,
    episode_ids: Sequence[str],
    precision: Precision,
    report: Report = silent,
) -> Judgements:
    """Judge the final images of many episodes, each with at least one view.

    Args:
        network: As for `judge`.
        final_images: Where the images are.
        episode_ids: `N` episodes.
        precision: As for `judge`.
        report: Told how many of the episodes have been judged.
    """
    tasks, views = network.configuration.tasks, len(network.configuration.views)
    parts = [Judgements(*(np.empty((0, *shape), np.float32) for shape in ((tasks,), (views, tasks), (tasks,))))]
    for some in _batches(episode_ids, report):
        parts.append(judge(network, final_images.images(some), final_images.present(some), precision))
    return Judgements(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.by_view for part in parts]),
        np.concatenate([part.distances for part in parts]),
    )


@torch.inference_mode()
def features_of_episodes(
    network: SuccessDetector, final_images: FinalImages, episode_ids: Sequence[str], precision: Precision
) -> torch.Tensor:
    """Return the tower's features of many episodes, `(N, L, K)` on the CPU; arguments as for `judge_episodes`."""
    parts = []
    for some in _batches(episode_ids, silent):
        present = torch.from_numpy(final_images.present(some)).to(precision.device)
        with precision.autocast():
            parts.append(network.features(_pixels(final_images.images(some), precision), present).float().cpu())
    return torch.cat(parts)


def _pixels(images: np.ndarray, precision: Precision) -> torch.Tensor:
    return precision.floats(torch.from_numpy(images).movedim(-1, -3))


def _batches(episode_ids: Sequence[str], report: Report) -> Iterator[Sequence[str]]:
    for first in range(0, len(episode_ids), BATCH):
        report(first, len(episode_ids))
        yield episode_ids[first : first + BATCH]
    report(len(episode_ids), len(episode_ids))

"""A trained success detector: final images in, outcomes of every task out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mtopt_core.checkpoint import load_checkpoint
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import CheckpointError, ConfigurationError, ImageError, UnknownTaskError
from mtopt_core.images import decode_square
from mtopt_core.precision import Precision
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.manifest import DetectorManifest
from mtopt_success_detector.network import SuccessDetector

BATCH = 64


class Grader:
    """Grades final images with one checkpoint.

    Attributes:
        manifest: What the checkpoint says about itself.
    """

    def __init__(self, network: SuccessDetector, manifest: DetectorManifest, precision: Precision) -> None:
        self.manifest = manifest
        self._network = network
        self._precision = precision

    @classmethod
    def load(cls, path: Path, tasks: TaskSet) -> Grader:
        """Load a checkpoint.

        Args:
            path: The checkpoint's folder.
            tasks: The tasks of the cell; the detector must have been trained for the same.

        Raises:
            CheckpointError: It is damaged, of another kind, or trained for other tasks.
        """
        network, manifest = load_detector(path, tasks)
        precision = Precision.of_this_machine()
        return cls(network.to(precision.device).eval(), manifest, precision)

    def grade(self, jpegs: Mapping[str, bytes], tasks: Sequence[str] = ()) -> list[Outcome]:
        """Grade one episode's final images.

        Args:
            jpegs: JPEG by camera; cameras the detector does not know are left alone.
            tasks: The tasks to grade; none means all.

        Raises:
            ImageError: No camera is one the detector knows, or an image is damaged; the message names the camera.
            UnknownTaskError: The detector does not know a task.
        """
        unknown = [task for task in tasks if task not in self.manifest.tasks]
        if unknown:
            raise UnknownTaskError(
                f'the detector does not know {", ".join(unknown)}; it knows {", ".join(self.manifest.tasks)}'
            )
        views, size = self.manifest.network.views, self.manifest.network.image_size
        present = np.array([[view in jpegs for view in views]])
        if not present.any():
            raise ImageError(
                f'a final image of {" or ".join(views)} is needed, got those of {", ".join(jpegs) or "no camera"}'
            )
        images = np.zeros((1, len(views), size, size, 3), np.uint8)
        for v, view in enumerate(views):
            if view in jpegs:
                try:
                    images[0, v] = decode_square(jpegs[view], size)
                except ImageError as error:
                    raise ImageError(f'final image of camera {view}: {error}') from None
        outcomes = self.outcomes(judge(self._network, images, present, self._precision)[0])
        return [outcome for outcome in outcomes if not tasks or outcome.task in tasks]

    def probabilities(
        self, final_images: FinalImages, episode_ids: Sequence[str], report: Report = silent
    ) -> np.ndarray:
        """Return p(success) of episodes, as `judge_episodes` does."""
        return judge_episodes(self._network, final_images, episode_ids, self._precision, report)

    def outcomes(self, probabilities: np.ndarray) -> list[Outcome]:
        """Return the outcome of every task from its p(success), `(T,) float`."""
        return [
            Outcome(task, self._verdict(task, probability), probability)
            for task, probability in zip(self.manifest.tasks, probabilities.tolist(), strict=True)
        ]

    def _verdict(self, task: str, probability: float) -> Verdict:
        threshold = self.manifest.thresholds.get(task)
        if threshold is None:
            return Verdict.UNSURE
        return Verdict.SUCCESS if probability >= threshold.value else Verdict.FAILURE


def load_detector(path: Path, tasks: TaskSet) -> tuple[SuccessDetector, DetectorManifest]:
    """Load a checkpoint.

    Args:
        path: The checkpoint's folder.
        tasks: The tasks of the cell.

    Raises:
        CheckpointError: It is damaged, of another kind, or trained for other tasks.
    """
    weights, manifest = load_checkpoint(path, DetectorManifest)
    manifest.require_fit(tasks)
    try:
        network = SuccessDetector(manifest.network)
        network.load_state_dict(weights)
    except (ConfigurationError, RuntimeError) as error:
        raise CheckpointError(f'checkpoint {path}: its weights do not fit its manifest: {error}') from None
    return network, manifest


@torch.inference_mode()
def judge(network: SuccessDetector, images: np.ndarray, present: np.ndarray, precision: Precision) -> np.ndarray:
    """Judge a batch of final images.

    Args:
        network: On the precision's device, in evaluation mode.
        images: `(B, V, S, S, 3) uint8` RGB, views as configured.
        present: `(B, V) bool`; at least one view per episode.
        precision: Where and in which arithmetic.

    Returns:
        p(success), `(B, T) float32`.
    """
    pixels = precision.floats(torch.from_numpy(images).permute(0, 1, 4, 2, 3))
    with precision.autocast():
        logits = network(pixels, torch.from_numpy(present).to(precision.device))
    return logits.float().sigmoid().cpu().numpy()


def judge_episodes(
    network: SuccessDetector,
    final_images: FinalImages,
    episode_ids: Sequence[str],
    precision: Precision,
    report: Report = silent,
) -> np.ndarray:
    """Judge the final images of many episodes.

    Args:
        network: As for `judge`.
        final_images: Where the images are.
        episode_ids: `N` episodes, each with at least one view.
        precision: As for `judge`.
        report: Told how many of the episodes have been judged.

    Returns:
        p(success), `(N, T) float32`.
    """
    judged = [np.empty((0, network.configuration.tasks), np.float32)]
    for first in range(0, len(episode_ids), BATCH):
        report(first, len(episode_ids))
        some = episode_ids[first : first + BATCH]
        judged.append(judge(network, final_images.images(some), final_images.present(some), precision))
    report(len(episode_ids), len(episode_ids))
    return np.concatenate(judged)

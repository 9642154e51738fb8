"""A trained success detector: final images in, outcomes of every task out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mtopt_core.batching import Batcher
from mtopt_core.checkpoint import load_checkpoint
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import CheckpointError, ConfigurationError, ImageError, UnknownTaskError
from mtopt_core.precision import Precision
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.evaluation import Threshold
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.judging import Judge, Judgements
from mtopt_success_detector.manifest import DetectorManifest
from mtopt_success_detector.network import SuccessDetector

LARGEST_BATCH = 16


@dataclass(frozen=True)
class Graded:
    """What a detector says of one task in one episode.

    Attributes:
        outcome: The verdict and its probability.
        distance: How far the task's features are from the usual, which is about 1.
    """

    outcome: Outcome
    distance: float


class Grader:
    """Grades final images with one checkpoint.

    Attributes:
        manifest: What the checkpoint says about itself.
    """

    def __init__(self, manifest: DetectorManifest, judge: Judge) -> None:
        self.manifest = manifest
        self._judge = judge
        # Threads that ask at the same time are answered together. Not by a method: see `Batcher`.
        self._batcher: Batcher[tuple[np.ndarray, np.ndarray], Judgements] = Batcher(
            partial(_judge_together, judge), LARGEST_BATCH
        )

    @classmethod
    def load(cls, path: Path, tasks: TaskSet, streams: int = 1) -> Grader:
        """Load a checkpoint.

        Args:
            path: The checkpoint's folder.
            tasks: The tasks of the cell; the detector must have been trained for the same.
            streams: Threads that will judge batches of their own at the same time.

        Raises:
            CheckpointError: It is damaged, of another kind, or trained for other tasks.
        """
        network, manifest = load_detector(path, tasks)
        precision = Precision.of_this_machine()
        return cls(manifest, Judge.compiled(network.to(precision.device).eval(), precision, streams))

    def grade(self, jpegs: Mapping[str, bytes], tasks: Sequence[str] = ()) -> list[Graded]:
        """Grade one episode's final images; several threads may.

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
        looks = self.manifest.network.looks
        if not any(view in jpegs for view in looks.views):
            raise ImageError(
                f'a final image of {" or ".join(looks.views)} is needed, got those of {", ".join(jpegs) or "no camera"}'
            )
        seen = [image for look in looks.of(jpegs) for image in look]
        size = looks.image_size
        absent = np.zeros((size, size, 3), np.uint8)
        images = np.stack([absent if image is None else image for image in seen]).reshape(
            1, *looks.shape, size, size, 3
        )
        present = np.array([image is not None for image in seen]).reshape(1, *looks.shape)
        judged = self._batcher.ask((images, present))
        outcomes = self.outcomes(self.manifest.calibration.probabilities(judged.logits)[0])
        graded = zip(outcomes, judged.distances[0].tolist(), strict=True)
        return [Graded(outcome, distance) for outcome, distance in graded if not tasks or outcome.task in tasks]

    def judge(self, final_images: FinalImages, episode_ids: Sequence[str], report: Report = silent) -> Judgements:
        """Judge many episodes, as `Judge.episodes` does."""
        return self._judge.episodes(final_images, episode_ids, report)

    def probabilities(
        self, final_images: FinalImages, episode_ids: Sequence[str], report: Report = silent
    ) -> np.ndarray:
        """Return p(success) of many episodes, `(N, T) float32`; arguments as for `Judge.episodes`."""
        return self.manifest.calibration.probabilities(self.judge(final_images, episode_ids, report).logits)

    def verdicts(self, probabilities: np.ndarray) -> np.ndarray:
        """Return verdicts, `(N, T) int8` of `Verdict`, from p(success) `(N, T)`; of NaN unsure."""
        return verdicts(self.manifest.tasks, self.manifest.thresholds, probabilities)

    def outcomes(self, probabilities: np.ndarray) -> list[Outcome]:
        """Return the outcome of every task from its p(success), `(T,) float`; one half stands for NaN."""
        found = self.verdicts(probabilities[None])[0]
        return [
            Outcome(task, Verdict(verdict), probability)
            for task, verdict, probability in zip(
                self.manifest.tasks, found.tolist(), known(probabilities).tolist(), strict=True
            )
        ]


def _judge_together(judge: Judge, episodes: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Judgements]:
    images, present = (np.concatenate(parts) for parts in zip(*episodes, strict=True))
    judged = judge(images, present)
    parts = (np.split(values, len(episodes)) for values in (judged.logits, judged.by_view, judged.distances))
    return [Judgements(*part) for part in zip(*parts, strict=True)]


def known(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities with one half in place of NaN, for what no image shows: nothing else can be stored."""
    return np.nan_to_num(probabilities, nan=0.5)


def verdicts(tasks: Sequence[str], thresholds: Mapping[str, Threshold], probabilities: np.ndarray) -> np.ndarray:
    """Return verdicts, `(N, T) int8` of `Verdict`; `UNSURE` for a task without thresholds.

    Args:
        tasks: Task names in one-hot order.
        thresholds: By task name.
        probabilities: `(N, T) float`, p(success).
    """
    found = np.full(probabilities.shape, Verdict.UNSURE, np.int8)
    for t, task in enumerate(tasks):
        if task in thresholds:
            success, failure = thresholds[task].called(probabilities[:, t])
            found[success, t], found[failure, t] = Verdict.SUCCESS, Verdict.FAILURE
    return found


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
    return network, manifest.renamed(tasks)

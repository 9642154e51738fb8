"""What a trained network's model card says: calibration, thresholds, figures on held-out episodes, the data it saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtopt_core.checkpoint import free_version, save_checkpoint
from mtopt_core.episode import Verdict
from mtopt_core.precision import Precision
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.calibration import Calibration
from mtopt_success_detector.dataset import Dataset
from mtopt_success_detector.drift import Reference
from mtopt_success_detector.evaluation import Threshold, choose_threshold, measure_tasks
from mtopt_success_detector.grader import verdicts
from mtopt_success_detector.judging import Judge
from mtopt_success_detector.manifest import DetectorManifest, LabelCounts, ThresholdRule
from mtopt_success_detector.network import SuccessDetector
from mtopt_success_detector.splits import Split


def certify(
    network: SuccessDetector,
    dataset: Dataset,
    tasks: TaskSet,
    taught: tuple[str, ...],
    rule: ThresholdRule,
    precision: Precision,
) -> dict[str, Any]:
    """Calibrate a network, choose its thresholds, measure it.

    Args:
        network: In evaluation mode; which features are usual is kept in it.
        dataset: Labelled episodes of all splits.
        tasks: The tasks it judges.
        taught: Those that have thresholds.
        rule: By what they are chosen.
        precision: Where and in which arithmetic.

    Returns:
        The fields of `DetectorManifest` that depend on data.
    """
    validation, test = dataset.of(Split.VALIDATION), dataset.of(Split.TEST)
    judge = Judge.compiled(network, precision)
    network.expect(judge.features(dataset.final_images, dataset.usual_ids), dataset.usual_own_skill)
    judged = judge.episodes(dataset.final_images, validation.episode_ids)
    outcomes = np.where(validation.own_skill, validation.outcomes, np.nan)
    calibration = Calibration.fit(judged.logits, outcomes)
    thresholds = choose_thresholds(tasks, taught, calibration.probabilities(judged.logits), outcomes, rule)
    held_out = judge.episodes(dataset.final_images, test.episode_ids)
    return {
        'episodes': {split.name.lower(): int((dataset.splits == split).sum()) for split in Split},
        'first_episode': min(dataset.episode_ids),
        'last_episode': max(dataset.episode_ids),
        'labels': {split.name.lower(): _label_counts(dataset.of(split), tasks) for split in Split},
        'calibration': calibration,
        'rule': rule,
        'thresholds': thresholds,
        'held_out': measure_tasks(
            tasks.names, calibration.probabilities(held_out.logits), test.outcomes, test.own_skill, thresholds
        ),
        'references': _references(judge, dataset, tasks, calibration, thresholds),
    }


def save_anew(
    network: SuccessDetector,
    before: DetectorManifest,
    dataset: Dataset,
    tasks: TaskSet,
    sources: Sequence[str],
    rule: ThresholdRule,
    folder: Path,
) -> tuple[Path, DetectorManifest]:
    """Certify a network again, on the episodes there are now, and save it as a new version.

    Args:
        network: The network; it stays as it is.
        before: What its checkpoint says.
        dataset: Labelled episodes of all splits.
        tasks: The tasks it judges.
        sources: Whose outcomes the dataset holds.
        rule: By what the thresholds are chosen.
        folder: Folder of the checkpoints.

    Returns:
        The checkpoint and what it says about itself.

    Raises:
        CheckpointError: It cannot be saved.
    """
    precision = Precision.of_this_machine()
    network.to(precision.device).eval()
    manifest = DetectorManifest(
        version=free_version(before.training.steps, folder),
        tasks=before.tasks,
        skills=before.skills,
        outcome_sources=tuple(sources),
        network=before.network,
        training=before.training,
        started_from=before.version,
        **certify(network, dataset, tasks, tuple(before.thresholds), rule, precision),
    )
    return save_checkpoint(folder, network.state_dict(), manifest), manifest


def choose_thresholds(
    tasks: TaskSet, taught: tuple[str, ...], probabilities: np.ndarray, outcomes: np.ndarray, rule: ThresholdRule
) -> dict[str, Threshold]:
    """Choose the thresholds of every task that was taught.

    Args:
        tasks: The tasks.
        taught: Names of those that were taught.
        probabilities: `(N, T) float`, p(success) of validation episodes.
        outcomes: `(N, T) float`, 1, 0, or NaN for what does not count.
        rule: By what they are chosen.
    """
    thresholds = {}
    for task in taught:
        t = tasks.index(task)
        known = ~np.isnan(outcomes[:, t])
        thresholds[task] = choose_threshold(
            probabilities[known, t], outcomes[known, t], rule.false_positive_rate, rule.unsure
        )
    return thresholds


def _label_counts(dataset: Dataset, tasks: TaskSet) -> dict[str, LabelCounts]:
    outcomes, labelled = dataset.outcomes, dataset.labelled
    return {
        task: LabelCounts(
            successes=int((labelled[:, t] & (outcomes[:, t] == 1)).sum()),
            failures=int((labelled[:, t] & (outcomes[:, t] == 0)).sum()),
            implied=int((~labelled[:, t] & ~np.isnan(outcomes[:, t])).sum()),
        )
        for t, task in enumerate(tasks.names)
    }


def _references(
    judge: Judge,
    dataset: Dataset,
    tasks: TaskSet,
    calibration: Calibration,
    thresholds: dict[str, Threshold],
) -> dict[str, Reference]:
    """Return what is usual, over episodes as they come, labelled or not."""
    judged = judge.episodes(dataset.final_images, dataset.usual_ids)
    found = verdicts(tasks.names, thresholds, calibration.probabilities(judged.logits))
    references = {}
    for task in thresholds:
        t = tasks.index(task)
        own = dataset.usual_own_skill[:, t]
        if own.sum() > 1:
            references[task] = Reference.of([Verdict(verdict) for verdict in found[own, t]], judged.distances[own, t])
    return references

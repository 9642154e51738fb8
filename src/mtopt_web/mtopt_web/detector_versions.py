"""What the checkpoints of the success detector say about themselves; the one place where the page reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtopt_core.checkpoint import MANIFEST_FILE, load_manifest
from mtopt_core.errors import CheckpointError
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.drift import Reference
from mtopt_success_detector.manifest import DetectorManifest


@dataclass(frozen=True)
class TaskCard:
    """One task of one version; shares are None where there was nothing to count.

    Attributes:
        successes: Labels that say success, of all splits.
        failures: Labels that say failure.
        threshold: p(success) from which the verdict is success.
        precision: Share of success verdicts that are right, on test episodes.
        recall: Share of successes found.
        false_positives: Share of failures called success.
        false_positive_bound: Upper end of its 95 % interval.
        unsure: Share of verdicts that are neither.
        calibration_error: Expected calibration error.
        curve: Of the calibration: mean p(success), share of successes, number of episodes.
    """

    successes: int
    failures: int
    threshold: float | None = None
    precision: float | None = None
    recall: float | None = None
    false_positives: float | None = None
    false_positive_bound: float | None = None
    unsure: float | None = None
    calibration_error: float | None = None
    curve: tuple[tuple[float, float, int], ...] = ()


@dataclass(frozen=True)
class DetectorVersion:
    """One version.

    Attributes:
        name: Its name; later ones sort behind.
        path: Its checkpoint.
        started_from: The version it went on from, empty for none.
        episodes: How many labelled episodes it saw, all splits together.
        cards: By task.
        references: What was usual when it was trained, by task.
    """

    name: str
    path: Path
    started_from: str
    episodes: int
    cards: dict[str, TaskCard]
    references: dict[str, Reference]


def read_versions(folder: Path, tasks: TaskSet) -> tuple[list[DetectorVersion], list[str]]:
    """Read all versions, the newest first.

    Args:
        folder: Folder of the checkpoints; it need not be there.
        tasks: The task set, which knows what renamed tasks were called before.

    Returns:
        The versions, and why others cannot be read.
    """
    found, troubles = [], []
    for path in sorted(folder.glob(f'*/{MANIFEST_FILE}'), reverse=True):
        try:
            found.append(_version(path.parent, load_manifest(path.parent, DetectorManifest).renamed(tasks)))
        except CheckpointError as error:
            troubles.append(str(error))
    return found, troubles


def _version(path: Path, manifest: DetectorManifest) -> DetectorVersion:
    cards = {}
    for task in manifest.tasks:
        counts = [by_task[task] for by_task in manifest.labels.values() if task in by_task]
        card = TaskCard(sum(one.successes for one in counts), sum(one.failures for one in counts))
        metrics = manifest.held_out.get(task)
        if metrics is not None:
            card = TaskCard(
                card.successes,
                card.failures,
                metrics.threshold,
                metrics.precision,
                metrics.recall,
                metrics.false_positive_rate,
                metrics.false_positive_bound,
                metrics.unsure,
                metrics.calibration_error,
                tuple((one.probability, one.share, one.episodes) for one in metrics.calibration),
            )
        cards[task] = card
    episodes = sum(manifest.episodes.values())
    return DetectorVersion(manifest.version, path, manifest.started_from, episodes, cards, manifest.references)

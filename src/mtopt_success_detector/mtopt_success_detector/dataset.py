"""Labelled final images: which episodes, what came of them according to whom, and which are held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtopt_core.catalogue import Catalogue, Row
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.implied import with_implied
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.splits import Split, settled_splits

USUAL = 1000
"""Episodes that show what is usual, at most."""


@dataclass(frozen=True)
class Dataset:
    """Episodes with a final image and at least one known outcome.

    Attributes:
        episode_ids: `N` ids.
        final_images: Where their images are.
        present: `(N, L, V) bool`, which of their images there are.
        outcomes: `(N, T) float32`, 1 for success, 0 for failure, NaN where nobody knows; what is implied included.
        labelled: `(N, T) bool`, where somebody said so.
        own_skill: `(N, T) bool`, whether the episode is of the task's skill.
        splits: `(N,) int`, a `Split` each.
        usual_ids: `M` ids of episodes drawn from all, labelled or not: what the detector will see.
        usual_own_skill: `(M, T) bool`, the same of these.
    """

    episode_ids: tuple[str, ...]
    final_images: FinalImages
    present: np.ndarray
    outcomes: np.ndarray
    labelled: np.ndarray
    own_skill: np.ndarray
    splits: np.ndarray
    usual_ids: tuple[str, ...]
    usual_own_skill: np.ndarray

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.episode_ids)

    def of(self, split: Split) -> Dataset:
        """Return the episodes of one split."""
        rows = np.flatnonzero(self.splits == split)
        return replace(
            self,
            episode_ids=tuple(self.episode_ids[row] for row in rows),
            present=self.present[rows],
            outcomes=self.outcomes[rows],
            labelled=self.labelled[rows],
            own_skill=self.own_skill[rows],
            splits=self.splits[rows],
        )

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Return the final images of some rows, `(B, L, V, S, S, 3) uint8` RGB."""
        return self.final_images.images([self.episode_ids[row] for row in rows])


def load_dataset(
    data: DataFolder,
    tasks: TaskSet,
    sources: Sequence[str],
    configuration: DetectorConfiguration,
    report: Report = silent,
) -> Dataset:
    """Join the final images of a data folder with the outcomes in its label store.

    Args:
        data: The folder.
        tasks: The tasks to judge.
        sources: Whose outcomes count, the first that has one (`human`, `detector`, `simulator`).
        configuration: Which views, of which size.
        report: Told how many of the new bags have been read, first by the catalogue, then for their images.

    Raises:
        LabelError: A source is unknown, the label store is damaged, or no episode has an outcome of these sources.
    """
    rows, final_images = read_final_images(data, configuration, report)
    store = LabelStore(data)
    labels = store.all_outcomes(sources)
    store.close()
    outcomes = np.array(
        [[_number(labels.get(row.episode_id, {}).get(task)) for task in tasks.names] for row in rows], np.float32
    ).reshape(-1, len(tasks))
    labelled = np.flatnonzero(~np.isnan(outcomes).all(axis=1))
    if not len(labelled):
        raise LabelError(
            f'none of the {len(rows)} episodes in {data.root} has an outcome by {" or ".join(sources)}; '
            'label some, or name another source'
        )
    own_skill = np.array([[task.skill == row.skill for task in tasks.tasks] for row in rows])
    episode_ids = tuple(rows[n].episode_id for n in labelled)
    present = final_images.present(episode_ids)
    # What nobody can see in the images there are teaches nothing.
    outcomes[labelled] = np.where(
        np.take(present.any(axis=2), configuration.look_of_task, axis=1), outcomes[labelled], np.nan
    )
    splits = settled_splits(data, rows, episode_ids)
    usual = np.random.default_rng(0).permutation(len(rows))[:USUAL]
    return Dataset(
        episode_ids,
        final_images,
        present,
        with_implied(outcomes[labelled], tasks),
        ~np.isnan(outcomes[labelled]),
        own_skill[labelled],
        np.array([splits[episode_id] for episode_id in episode_ids]),
        tuple(rows[n].episode_id for n in usual),
        own_skill[usual],
    )


def read_final_images(
    data: DataFolder, configuration: DetectorConfiguration, report: Report = silent
) -> tuple[list[Row], FinalImages]:
    """Return a data folder's episodes that have a final image, and the images.

    Args:
        data: The folder.
        configuration: Which views, of which size.
        report: Told how many of the new bags have been read, first by the catalogue, then for their images.
    """
    catalogue = Catalogue(data)
    catalogue.refresh(report)
    rows = catalogue.episodes()
    final_images = FinalImages(data, configuration.looks)
    final_images.read({row.episode_id: row.path for row in rows}, report)
    present = final_images.present([row.episode_id for row in rows]).any(axis=(1, 2))
    return [rows[n] for n in np.flatnonzero(present)], final_images


def _number(outcome: Outcome | None) -> float:
    if outcome is None or outcome.verdict == Verdict.UNSURE:
        return math.nan
    return float(outcome.verdict == Verdict.SUCCESS)

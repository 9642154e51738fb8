"""Grading old episodes again with another detector: only the label store changes, no bag is opened twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_core.label_store import LabelStore
from mtopt_core.outcome_rows import GradedEpisodes
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.grader import Grader, known
from mtopt_success_detector.judging import BATCH

BATCHES_PER_COMMIT = 16
"""What a killed relabelling does again, at most, beside the batches it is at."""


@dataclass(frozen=True)
class Relabelled:
    """What a relabelling did.

    Attributes:
        graded: Episodes graded.
        before: Episodes that this version had graded before.
        unsure: Share of unsure verdicts among the new ones.
    """

    graded: int
    before: int
    unsure: float


def relabel(
    data: DataFolder,
    grader: Grader,
    final_images: FinalImages,
    episode_ids: Sequence[str],
    tasks: Sequence[str],
    workers: int,
    report: Report = silent,
) -> Relabelled:
    """Grade episodes for some tasks; what this version has graded before is left alone, so that one can go on.

    Every core judges batches of its own: threads that share one batch wait for each other, for ages where other
    programs want the cores too. One thread of torch's per batch is therefore meant, see `torch.set_num_threads`.

    Args:
        data: The folder whose label store gets them.
        grader: The detector.
        final_images: Where the images are.
        episode_ids: Episodes, each with at least one view.
        tasks: Names of the tasks; the detector must know them.
        workers: Batches judged at the same time.
        report: Told how many of the episodes are graded.

    Raises:
        LabelError: The disk is full or the store is damaged.
    """
    chosen = [grader.manifest.tasks.index(task) for task in tasks]
    with closing(LabelStore(data)) as store, _threads(workers) as pool:
        done = store.graded_by(grader.manifest.version, tasks)
        wanted = [episode_id for episode_id in episode_ids if episode_id not in done]
        before, graded, unsure = len(episode_ids) - len(wanted), 0, 0
        report(before, len(episode_ids))
        # All of it is asked for at once, so that the workers judge on while a part is stored.
        judged = pool.map(partial(grader.probabilities, final_images), _parts(wanted, BATCH))
        for some in _parts(wanted, BATCH * BATCHES_PER_COMMIT):
            probabilities = np.concatenate(list(islice(judged, BATCHES_PER_COMMIT)))
            verdicts = grader.verdicts(probabilities)[:, chosen]
            found = GradedEpisodes(some, verdicts, known(probabilities[:, chosen]))
            store.add_verdicts(grader.manifest.version, tasks, found)
            graded += len(some)
            unsure += int((verdicts == Verdict.UNSURE).sum())
            report(before + graded, len(episode_ids))
    return Relabelled(graded, before, unsure / max(graded * len(tasks), 1))


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that leave what is still waiting undone once they are left, also by an error."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _parts(episode_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(episode_ids), size):
        yield episode_ids[first : first + size]

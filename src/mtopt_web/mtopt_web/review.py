"""The queue of the page Review: the episodes whose labels teach the detector most, and why each is asked about.

What the detector finds hard itself is ordered by `mtopt_success_detector.review_queue`. Mixed with it is what only a
comparison shows: where a person and the detector, or its two newest versions, say the opposite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import numpy as np

from mtopt_core.checkpoint import newest_checkpoint
from mtopt_core.episode_search import EpisodeFilter, FoundEpisode, Judged
from mtopt_core.progress import Report, silent
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.review_queue import questions
from mtopt_web.site import Site

SIZE = 60
"""Episodes of a queue."""
CANDIDATES = 2000
"""Newest unlabelled episodes that are judged for it."""
PERSON = 'a person and the detector say the opposite'
VERSIONS = 'two versions say the opposite'
NO_DETECTOR = 'there is no detector yet: the newest'

Asked = tuple[str, str]
"""An episode's id and why it is asked about."""


@dataclass(frozen=True)
class Queue:
    """What is asked about one task.

    Attributes:
        episodes: In their order.
        why: Why each is asked about, by its id.
    """

    episodes: tuple[FoundEpisode, ...]
    why: dict[str, str]


def review_queue(site: Site, task: str, report: Report = silent) -> Queue:
    """Return what to ask next about a task.

    Args:
        site: The data and the newest detector.
        task: Name of the task.
        report: Told how many of the episodes have been judged.

    Raises:
        CheckpointError: The newest detector is damaged or does not fit the tasks.
        LabelError: An index is damaged or held.
        UnknownTaskError: There is no such task.
    """
    skill = site.tasks[task].skill
    against = site.search.page(EpisodeFilter(task, skill=skill, judged=Judged.DISAGREEMENT), SIZE).episodes
    sources: list[Sequence[Asked]] = [
        [(episode.episode_id, PERSON) for episode in against],
        [(episode_id, VERSIONS) for episode_id in site.search.disputed(task, SIZE)],
        list(islice(_hard(site, task, skill, report), SIZE)),
    ]
    why: dict[str, str] = {}
    # What is hard is endless, the others are few: one of each in turn, then the rest.
    for turn in zip_longest(*sources):
        for asked in turn:
            if asked is not None and len(why) < SIZE:
                why.setdefault(*asked)
    return Queue(tuple(site.search.find(list(why), task)), why)


def _hard(site: Site, task: str, skill: str, report: Report) -> Iterator[Asked]:
    """Yield the unlabelled episodes the newest detector would learn most from."""
    wanted = EpisodeFilter(task, skill=skill, judged=Judged.UNLABELLED)
    episode_ids = [episode.episode_id for episode in site.search.page(wanted, CANDIDATES).episodes]
    checkpoint = newest_checkpoint(site.checkpoints)
    if checkpoint is None:
        yield from ((episode_id, NO_DETECTOR) for episode_id in episode_ids)
        return
    grader = Grader.load(checkpoint, site.tasks)
    final_images = FinalImages(site.data, grader.manifest.network.looks)
    final_images.read({episode_id: site.data.bags / episode_id for episode_id in episode_ids})
    present = final_images.present(episode_ids).any(axis=(1, 2))
    seen = [episode_ids[row] for row in np.flatnonzero(present)]
    if not seen:
        return
    judged = grader.judge(final_images, seen, report)
    rng = np.random.default_rng(len(seen))
    for question in questions(judged, site.tasks.index(task), np.ones(len(seen), bool), rng):
        yield seen[question.row], str(question.reason)

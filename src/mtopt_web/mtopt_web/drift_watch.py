"""Whether the newest episodes still look to the detector as those did that it was trained on, from what is stored."""

from __future__ import annotations

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_core.episode_search import EpisodeFilter
from mtopt_core.label_store import DETECTOR
from mtopt_success_detector.drift import WINDOW, DriftMonitor
from mtopt_web.detector_versions import DetectorVersion
from mtopt_web.site import Site


def drift_of(site: Site, version: DetectorVersion) -> list[str]:
    """Return a sentence for every verdict that became more or less frequent, which begins with the task's name.

    Only what the version itself graded counts. How new the images look is not stored; the detector's node, which sees
    them, tells of that in its diagnostics.

    Args:
        site: The data.
        version: The version of the detector.

    Raises:
        LabelError: The index is damaged or held.
    """
    monitor = DriftMonitor(version.references)
    for skill in dict.fromkeys(task.skill for task in site.tasks.tasks):
        tasks = site.tasks.of_skill(skill)
        graded = site.labels.graded_by(version.name, tasks)
        newest = (one.episode_id for one in site.search.page(EpisodeFilter(skill=skill), WINDOW).episodes)
        episode_ids = np.array([name.encode() for name in newest if name in graded], 'S')
        if not len(episode_ids):
            continue
        _, verdicts = site.labels.verdicts(DETECTOR, tasks, episode_ids)
        for row in verdicts:
            for task, verdict in zip(tasks, row, strict=True):
                monitor.add(task, Verdict(verdict))
    return monitor.alarms()

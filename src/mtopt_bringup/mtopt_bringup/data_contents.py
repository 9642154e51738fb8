"""What a report is made from: a data folder's episodes and everything said of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from mtopt_core.catalogue import Catalogue, Row
from mtopt_core.episode import Outcome
from mtopt_core.errors import MtoptError
from mtopt_core.label_store import DEFAULT_SOURCES, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import TaskSet

Outcomes = Mapping[str, Mapping[str, Outcome]]
"""Outcomes by episode id and task."""


class EmptyFolderError(MtoptError):
    """There is nothing to report on."""


@dataclass(frozen=True)
class Contents:
    """What a data folder holds.

    Attributes:
        rows: Its `N` episodes in order of time.
        outcomes: Said by people and the success detector.
        truth: The simulator's.
        verdicts: Of the outcomes that count, `(N, T) int8` of `Verdict`: the truth's where there are no others.
    """

    rows: list[Row]
    outcomes: Outcomes
    truth: Outcomes
    verdicts: np.ndarray

    @property
    def graded_by(self) -> str:
        """Return whose they are."""
        return 'people and the success detector' if self.outcomes else "the simulator's truth"


def read_contents(data: DataFolder, tasks: TaskSet) -> Contents:
    """Read what a data folder holds.

    Args:
        data: The folder.
        tasks: Whose verdicts are counted.

    Raises:
        EmptyFolderError: It holds no episode.
    """
    catalogue = Catalogue(data)
    with progress_bar('reading new bags') as progress:
        catalogue.refresh(progress)
    rows = catalogue.episodes()
    if not rows:
        raise EmptyFolderError(f'{data.bags} holds no episode; `mtopt simulate` or `mtopt run` collect some')
    with closing(LabelStore(data)) as store:
        outcomes, truth = store.all_outcomes(DEFAULT_SOURCES), store.all_outcomes([SIMULATOR])
        sources = DEFAULT_SOURCES if outcomes else (SIMULATOR,)
        verdicts = store.counting_verdicts([row.episode_id for row in rows], tasks.names, sources)
    return Contents(rows, outcomes, truth, verdicts)

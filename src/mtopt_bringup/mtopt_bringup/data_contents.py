"""What a report is made from: a data folder's episodes and everything said of them."""

from __future__ import annotations

from dataclasses import dataclass

from mtopt_core.catalogue import Catalogue, Row
from mtopt_core.data_growth import Outcomes
from mtopt_core.errors import MtoptError
from mtopt_core.label_store import DEFAULT_SOURCES, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar


class EmptyFolderError(MtoptError):
    """There is nothing to report on."""


@dataclass(frozen=True)
class Contents:
    """What a data folder holds.

    Attributes:
        rows: Its episodes in order of time.
        outcomes: Said by people and the success detector.
        truth: The simulator's.
    """

    rows: list[Row]
    outcomes: Outcomes
    truth: Outcomes

    @property
    def graded(self) -> Outcomes:
        """Return the outcomes that count: the truth's where there are no others."""
        return self.outcomes or self.truth

    @property
    def graded_by(self) -> str:
        """Return whose they are."""
        return 'people and the success detector' if self.outcomes else "the simulator's truth"


def read_contents(data: DataFolder) -> Contents:
    """Read what a data folder holds.

    Raises:
        EmptyFolderError: It holds no episode.
    """
    catalogue = Catalogue(data)
    with progress_bar('reading new bags') as progress:
        catalogue.refresh(progress)
    rows = catalogue.episodes()
    if not rows:
        raise EmptyFolderError(f'{data.bags} holds no episode; `mtopt simulate` or `mtopt run` collect some')
    store = LabelStore(data)
    outcomes, truth = store.all_outcomes(DEFAULT_SOURCES), store.all_outcomes([SIMULATOR])
    store.close()
    return Contents(rows, outcomes, truth)

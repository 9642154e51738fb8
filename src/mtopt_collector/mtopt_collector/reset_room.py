"""Whether a cell's limits leave the arm room for a reset: better said at the start than at every reset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mtopt_collector.tidying import STIR_HEIGHT
from mtopt_core.configuration import LimitConfiguration
from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN, start_box
from mtopt_core.errors import ConfigurationError
from mtopt_core.workspace import TRAVEL_HEIGHT


def check_room(limits: LimitConfiguration, regions: Iterable[str], tidies: bool) -> None:
    """See that the arm may go wherever resets take it.

    Args:
        limits: Of the cell.
        regions: Bins above which episodes start.
        tidies: The robot makes new scenes by itself.

    Raises:
        ConfigurationError: There is no such bin, or the workspace leaves something out; the message names the fields
            and what they must be.
    """
    bins = {one.name for one in CELL.bins}
    for region in regions:
        if region not in bins:
            raise ConfigurationError(f'start_region {region!r} of a skill is no bin; known: {", ".join(sorted(bins))}')
    for problem in _missing(limits, {*regions, *((LEFT_BIN, RIGHT_BIN) if tidies else ())}, tidies):
        raise ConfigurationError(problem)


def _missing(limits: LimitConfiguration, regions: set[str], tidies: bool) -> Iterator[str]:
    boxes = [start_box(region) for region in sorted(regions)]
    low = np.min([low for low, _ in boxes], axis=0)
    high = np.max([high for _, high in boxes], axis=0)
    if np.any(low < limits.workspace_min):
        yield (
            f'limits.workspace_min of the cell file is {list(limits.workspace_min)} m; at most '
            f'{low.round(3).tolist()} m leaves room for the poses that episodes start in, above '
            f'{" and ".join(sorted(regions))}'
        )
    high[2] = max(high[2], TRAVEL_HEIGHT)
    if np.any(high > limits.workspace_max):
        yield (
            f'limits.workspace_max of the cell file is {list(limits.workspace_max)} m; at least '
            f'{high.round(3).tolist()} m leaves room for the poses that episodes start in, and for crossing the bins '
            f'at {TRAVEL_HEIGHT:g} m'
        )
    if tidies and limits.workspace_min[2] > STIR_HEIGHT:
        yield (
            f'limits.workspace_min of the cell file has a height of {limits.workspace_min[2]:g} m; at most '
            f'{STIR_HEIGHT:g} m lets the robot stir the bin and make new scenes by itself. Or have a person make them: '
            'new_scenes person'
        )

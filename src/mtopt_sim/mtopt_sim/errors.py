"""Errors of the simulated cell."""

from __future__ import annotations

from mtopt_core.errors import MtoptError


class SimulationError(MtoptError):
    """The simulator was asked for what it does not have or cannot do."""


class DivergedError(SimulationError):
    """The physics diverged: what the cell's state is cannot be said until the next reset.

    Attributes:
        step: Of the episode that ran, from 1; 0 where none did.
    """

    step = 0

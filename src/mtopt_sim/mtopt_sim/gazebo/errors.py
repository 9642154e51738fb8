"""Errors of talking to Gazebo."""

from __future__ import annotations

from mtopt_sim.errors import SimulationError


class TransportError(SimulationError):
    """The server is not there, is gone, or says what cannot be understood."""

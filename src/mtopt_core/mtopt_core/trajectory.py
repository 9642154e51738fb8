"""Joint trajectories and the cubic a joint trajectory controller makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trajectory:
    """Waypoints after the start, as in `trajectory_msgs/JointTrajectory`.

    Attributes:
        times: `(N,)` s from the start, increasing, the last one is the trajectory's length.
        positions: `(N, J)` rad or m.
        velocities: `(N, J)` rad/s or m/s.
    """

    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray

    @classmethod
    def at_rest(cls, times: np.ndarray | list[float], positions: np.ndarray) -> Trajectory:
        """Return a trajectory that stops at each of its waypoints."""
        return cls(np.asarray(times, float), np.asarray(positions, float), np.zeros(np.shape(positions)))

    @property
    def duration(self) -> float:
        """Length, s."""
        return float(self.times[-1])

    def sample(self, start: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate by cubics from rest at `start`.

        Args:
            start: `(J,)` where the joints are at time 0.
            times: `(T,)` s; later than the last waypoint means there.

        Returns:
            Positions and velocities, both `(T, J)`.
        """
        knots = np.concatenate([[0.0], self.times])
        positions = np.vstack([start, self.positions])
        velocities = np.vstack([np.zeros_like(self.velocities[:1]), self.velocities])
        times = np.clip(times, 0.0, self.duration)
        segment = np.clip(np.searchsorted(knots, times, side='right') - 1, 0, len(self.times) - 1)
        length = (knots[segment + 1] - knots[segment])[:, None]
        u = (times - knots[segment])[:, None] / length
        p0, p1 = positions[segment], positions[segment + 1]
        m0, m1 = velocities[segment] * length, velocities[segment + 1] * length
        bend0, bend1 = m0 - (p1 - p0), (p1 - p0) - m1
        value = p0 + u * (p1 - p0) + u * (1 - u) * ((1 - u) * bend0 + u * bend1)
        slope = (p1 - p0) + (1 - u) * (1 - 3 * u) * bend0 + u * (2 - 3 * u) * bend1
        return value, slope / length

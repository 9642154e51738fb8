from __future__ import annotations

import numpy as np
import pytest

from mtopt_core.trajectory import Trajectory


def test_a_cubic_starts_and_ends_at_rest_and_passes_the_middle_half_way():
    trajectory = Trajectory.at_rest([0.5], np.array([[1.0, -2.0]]))
    positions, velocities = trajectory.sample(np.zeros(2), np.array([0.0, 0.25, 0.5]))
    assert positions == pytest.approx(np.array([[0, 0], [0.5, -1.0], [1.0, -2.0]]))
    assert velocities == pytest.approx(np.array([[0, 0], [3.0, -6.0], [0, 0]]))


def test_every_waypoint_is_met_with_its_velocity():
    times, positions = np.array([0.2, 0.5, 0.6]), np.array([[1.0], [3.0], [2.0]])
    velocities = np.array([[4.0], [-1.0], [0.0]])
    reached, speeds = Trajectory(times, positions, velocities).sample(np.array([0.5]), times)
    assert reached == pytest.approx(positions)
    assert speeds == pytest.approx(velocities)


def test_velocities_are_the_slope_of_the_positions():
    trajectory = Trajectory(np.array([0.3, 0.9]), np.array([[1.0], [0.2]]), np.array([[0.7], [0.0]]))
    times = np.linspace(0.01, 0.89, 200)
    _, velocities = trajectory.sample(np.zeros(1), times)
    ahead, behind = (trajectory.sample(np.zeros(1), times + step)[0] for step in (1e-6, -1e-6))
    assert velocities == pytest.approx((ahead - behind) / 2e-6, abs=1e-4)


def test_after_its_end_it_stays_there():
    trajectory = Trajectory.at_rest([0.5], np.array([[1.0]]))
    positions, velocities = trajectory.sample(np.zeros(1), np.array([0.7, 9.0]))
    assert positions == pytest.approx(np.ones((2, 1)))
    assert velocities == pytest.approx(np.zeros((2, 1)))

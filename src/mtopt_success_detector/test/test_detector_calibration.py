from __future__ import annotations

import numpy as np
import pytest

from mtopt_success_detector.calibration import Calibration, calibration_curve, expected_calibration_error


def overconfident(episodes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return logits three times too large and, of the second task, two too high; and the outcomes."""
    true = rng.normal(0, 2, (episodes, 2))
    outcomes = (rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.float32)
    return (3 * (true + np.array([0, 2]))).astype(np.float32), outcomes


def error(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    return max(
        expected_calibration_error(calibration_curve(*task)) for task in zip(probabilities.T, outcomes.T, strict=True)
    )


def test_calibration_finds_temperature_and_offsets():
    rng = np.random.default_rng(0)
    calibration = Calibration.fit(*overconfident(4000, rng))
    assert calibration.temperature == pytest.approx(3, rel=0.1)
    assert calibration.offsets == pytest.approx((0, -2), abs=0.15)
    logits, outcomes = overconfident(4000, rng)
    assert error(Calibration.none(2).probabilities(logits), outcomes) > 0.1
    assert error(calibration.probabilities(logits), outcomes) < 0.03


def test_what_nobody_knows_moves_nothing():
    logits = np.array([[9.0, 1.0], [-3.0, -1.0]], np.float32)
    nobody = Calibration.fit(logits, np.full((2, 2), np.nan))
    assert nobody == Calibration.none(2)
    one = Calibration.fit(logits, np.array([[np.nan, 1], [np.nan, 0]]))
    assert one.offsets[0] == pytest.approx(0, abs=1e-3)


def test_a_curve_counts_every_episode_once():
    probabilities, outcomes = np.array([0.0, 0.02, 0.5, 1.0]), np.array([0, 1, 1, 1])
    curve = calibration_curve(probabilities, outcomes)
    assert [point.episodes for point in curve] == [2, 1, 1]
    assert curve[0].share == 0.5
    assert expected_calibration_error(curve) == pytest.approx((2 * 0.49 + 0.5 + 0) / 4)
    assert expected_calibration_error([]) is None

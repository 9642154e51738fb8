from __future__ import annotations

import numpy as np

from mtopt_core.episode import Verdict
from mtopt_success_detector.drift import DriftMonitor, Reference

FAILURE, SUCCESS, UNSURE = Verdict.FAILURE, Verdict.SUCCESS, Verdict.UNSURE


def draw(episodes: int, success: float, unsure: float, distance: float, rng: np.random.Generator):
    verdicts = rng.choice([SUCCESS, UNSURE, FAILURE], episodes, p=[success, unsure, 1 - success - unsure])
    return [Verdict(verdict) for verdict in verdicts], distance * np.exp(rng.normal(0, 0.4, episodes))


def alarms(rng: np.random.Generator, **now: tuple[float, float, float]) -> list[str]:
    monitor = DriftMonitor({task: Reference.of(*draw(800, 0.3, 0.02, 1.0, rng)) for task in now})
    for task, usual in now.items():
        for verdict, distance in zip(*draw(200, *usual, rng), strict=True):
            monitor.add(task, verdict, distance)
    return monitor.alarms()


def test_what_stays_as_it_was_raises_no_alarm():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert alarms(rng, lift=(0.3, 0.02, 1.0)) == []


def test_an_alarm_names_the_task_and_what_moved():
    rng = np.random.default_rng(0)
    assert [alarm[:6] for alarm in alarms(rng, steady=(0.3, 0.02, 1.0), solved=(0.8, 0.02, 1.0))] == ['solved']
    (unsure,) = alarms(rng, lift=(0.3, 0.2, 1.0))
    assert 'lift' in unsure
    assert 'unsure' in unsure
    (new,) = alarms(rng, lift=(0.3, 0.02, 2.0))
    assert 'look new' in new


def test_nothing_is_said_of_a_few_episodes():
    monitor = DriftMonitor({'lift': Reference.of(*draw(800, 0.3, 0.02, 1.0, np.random.default_rng(0)))})
    for _ in range(49):
        monitor.add('lift', UNSURE, 9.0)
    assert monitor.alarms() == []
    monitor.add('lift', UNSURE, 9.0)
    assert len(monitor.alarms()) == 3


def test_only_the_newest_count():
    rng = np.random.default_rng(0)
    monitor = DriftMonitor({'lift': Reference.of(*draw(800, 0.3, 0.02, 1.0, rng))})
    for usual in ((0.3, 0.3, 3.0), (0.3, 0.02, 1.0)):
        for verdict, distance in zip(*draw(200, *usual, rng), strict=True):
            monitor.add('lift', verdict, distance)
    assert monitor.alarms() == []

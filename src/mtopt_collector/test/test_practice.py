"""What robots know of their tasks, read from real bags, catalogue and label store."""

from __future__ import annotations

import numpy as np
import pytest

from mtopt_collector.curriculum import Chooser, Curriculum, Parity
from mtopt_collector.practice import Practice
from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Outcome, Step, Verdict
from mtopt_core.episode_bag import write_episode
from mtopt_core.images import encode_jpeg
from mtopt_core.label_store import DEFAULT_SOURCES, DETECTOR, HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks

TASKS = load_tasks()
JPEG = encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90)


class Robots:
    """Robots whose episodes end as they are told to."""

    def __init__(self, folder) -> None:
        self.data = DataFolder(folder)
        self.labels = LabelStore(self.data)
        self._number = 0

    def attempt(self, task: str, policy: str, verdict: Verdict, source: str = DETECTOR) -> str:
        self._number += 1
        name = f'20260101T0000{self._number:02d}_robot{self._number % 2}_{self._number:08x}'
        seen = [Observation(t, {'main': JPEG}, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1) for t in (1, 2)]
        info = EpisodeInfo(name, 'robot1', task, TASKS[task].skill, policy)
        episode = Episode(info, (Step(seen[0], Action()),), seen[1])
        write_episode(self.data.bags, episode, CellConfiguration(), [])
        self.labels.add(name, source, 'v1', [Outcome(task, verdict, 0.5)])
        return name

    def practice(self, window: int = 100) -> Practice:
        Catalogue(self.data).refresh()
        chooser = Chooser(Curriculum(parity=Parity(window=window, episodes=4)))
        return Practice(self.data, TASKS, DEFAULT_SOURCES, chooser)


@pytest.fixture
def robots(tmp_path):
    robots = Robots(tmp_path)
    yield robots
    robots.labels.close()


def test_episodes_are_counted_by_who_acted_and_what_came_of_them(robots):
    for verdict in (Verdict.SUCCESS, Verdict.FAILURE, Verdict.UNSURE):
        robots.attempt('lift-can', 'learned', verdict)
    for policy in ('scripted', 'learned:lift-any'):
        robots.attempt('lift-can', policy, Verdict.SUCCESS)
    robots.attempt('lift-box', 'scripted', Verdict.FAILURE)
    records = robots.practice().chooser.records
    assert (records['lift-can'].learned, records['lift-can'].others) == ((2, 1), (2, 2))
    assert records['lift-can'].attempts == 5
    assert records['lift-box'].others == (1, 0)
    assert records['lift-milk'].attempts == 0
    assert [records[task].idle for task in ('lift-box', 'lift-can', 'lift-milk')] == [0, 1, 2]


def test_what_a_person_says_counts_more_than_the_detector(robots):
    name = robots.attempt('lift-can', 'learned', Verdict.SUCCESS)
    robots.labels.add(name, HUMAN, '', [Outcome('lift-can', Verdict.FAILURE, 0.0)])
    assert robots.practice().chooser.records['lift-can'].learned == (1, 0)


def test_only_the_newest_episodes_count_so_that_a_policy_that_got_better_is_seen(robots):
    for verdict in [Verdict.FAILURE] * 6 + [Verdict.SUCCESS] * 4:
        robots.attempt('lift-can', 'learned', verdict)
    assert robots.practice(window=4).chooser.records['lift-can'].learned == (4, 4)


def test_parity_found_in_the_data_folder_is_told_with_its_interval(robots):
    for _ in range(12):
        robots.attempt('lift-can', 'learned', Verdict.SUCCESS)
        robots.attempt('lift-can', 'scripted', Verdict.FAILURE)
    practice = robots.practice()
    (told,) = practice.of_tasks({'lift-can': 0.25}, have_learned=True)
    assert told.at_parity
    assert told.shares['learned'] > 0.9
    low, high = told.record.difference
    assert 0 < low < high == pytest.approx(1.0)

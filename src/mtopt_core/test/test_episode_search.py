from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Episode, Outcome, Verdict
from mtopt_core.episode_bag import write_episode
from mtopt_core.episode_pictures import FEWEST, read_pictures
from mtopt_core.episode_search import EpisodeFilter, EpisodeSearch, Judged
from mtopt_core.errors import BagError, LabelError
from mtopt_core.human_labels import LabelChange
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.paths import DataFolder

Make = Callable[..., Episode]


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


@pytest.fixture
def fill(data: DataFolder) -> Callable[[int], EpisodeSearch]:
    """Return what makes a catalogue of some episodes without their bags, which a search does not open."""

    def fill(episodes: int) -> EpisodeSearch:
        search = EpisodeSearch(data)
        rows = [
            (
                f'202611{1 + number // 1000:02d}T000000_robot1_{number:08d}',
                f'robot{1 + number % 2}',
                ('lift-can', 'lift-any', 'place-any')[number % 3],
                ('lift', 'lift', 'place')[number % 3],
                ('scripted', 'learned')[number % 2],
                ('', 'v1')[number % 2],
                '',
                5,
                number,
                1,
                1,
            )
            for number in range(episodes)
        ]
        with sqlite3.connect(data.catalogue) as index:
            index.executemany(f'INSERT INTO episodes VALUES ({", ".join("?" * len(rows[0]))})', rows)
        return search

    return fill


def test_pages_go_from_the_newest_to_the_oldest_and_back(fill: Callable[[int], EpisodeSearch]) -> None:
    search = fill(25)
    seen: list[str] = []
    page = search.page(EpisodeFilter(), 10)
    while page.episodes:
        assert (page.before, page.total) == (len(seen), 25)
        seen += [episode.episode_id for episode in page.episodes]
        page = search.page(EpisodeFilter(), 10, after=seen[-1])
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 25
    back = search.page(EpisodeFilter(), 10, up_to=seen[20])
    assert [episode.episode_id for episode in back.episodes] == seen[10:20]
    assert back.before == 10


def test_episodes_are_filtered_by_what_they_are(fill: Callable[[int], EpisodeSearch]) -> None:
    search = fill(3000)

    def count(**wanted: object) -> int:
        return search.page(EpisodeFilter(**wanted), 1).total

    assert count(task='lift-can') == count(skill='place') == 1000
    assert count(robot='robot1') == count(policy='scripted') == count(policy='learned v1') == 1500
    assert count(policy='learned', task='lift-can') == 500
    assert count(first_day=date(2026, 11, 2)) == 2000
    assert count(first_day=date(2026, 11, 2), last_day=date(2026, 11, 2)) == 1000
    assert count(robot="robot1' OR '1") == 0
    choices = search.choices()
    assert (choices.robots, choices.policies) == (('robot1', 'robot2'), ('learned v1', 'scripted'))


def test_episodes_are_filtered_by_what_is_said_of_the_task_they_are_judged_for(
    data: DataFolder, fill: Callable[[int], EpisodeSearch]
) -> None:
    search = fill(6)
    newest = [episode.episode_id for episode in search.page(EpisodeFilter(), 6).episodes]
    can = newest[2]  # attempted lift-can
    store = LabelStore(data)
    store.change_labels([LabelChange(can, 'lift-can', Verdict.SUCCESS, 'Ada')])
    store.add(
        can, DETECTOR, '2', [Outcome('lift-can', Verdict.FAILURE, 0.2), Outcome('lift-any', Verdict.SUCCESS, 0.9)]
    )
    store.add(can, DETECTOR, '1', [Outcome('lift-can', Verdict.SUCCESS, 0.8)])
    store.close()

    def found(judged: Judged, task: str = '') -> list[str]:
        page = search.page(EpisodeFilter(judged_task=task, judged=judged), 10)
        return [episode.episode_id for episode in page.episodes]

    assert found(Judged.SUCCESS) == found(Judged.LABELLED) == found(Judged.DISAGREEMENT) == [can]
    assert found(Judged.DETECTOR_FAILURE) == found(Judged.DETECTOR_SUCCESS, 'lift-any') == [can]
    assert found(Judged.UNLABELLED, 'lift-any') == newest
    assert len(found(Judged.UNLABELLED)) == 5
    (episode,) = search.find([can, 'gone'], '')
    assert (episode.label.who, episode.label.verdict, episode.judged_task) == ('Ada', Verdict.SUCCESS, 'lift-can')
    assert episode.detected == Outcome('lift-can', Verdict.FAILURE, 0.2)
    assert search.find([can], 'lift-any')[0].label is None


def test_episodes_on_which_two_versions_say_the_opposite_are_found_unless_somebody_labelled_them(
    data: DataFolder, fill: Callable[[int], EpisodeSearch]
) -> None:
    search = fill(4)
    one, two, three, four = (episode.episode_id for episode in search.page(EpisodeFilter(), 4).episodes)
    store = LabelStore(data)
    said = {
        '1': ['FAILURE'] * 4,
        '2': ['FAILURE', 'SUCCESS', 'SUCCESS', 'UNSURE'],
        '3': ['SUCCESS', 'SUCCESS', 'FAILURE', 'SUCCESS'],
    }
    for version, verdicts in said.items():
        graded = zip((one, two, three, four), verdicts, strict=True)
        store.add_many(
            DETECTOR, version, {name: [Outcome('lift-can', Verdict[verdict], 0.5)] for name, verdict in graded}
        )
    assert search.disputed('lift-can', 10) == [one, three]
    store.change_labels([LabelChange(one, 'lift-can', Verdict.FAILURE, 'Ada')])
    store.close()
    assert search.disputed('lift-can', 10) == [three]
    assert search.disputed('lift-any', 10) == []


def test_ten_thousand_episodes_are_searched_without_a_wait(
    data: DataFolder, fill: Callable[[int], EpisodeSearch]
) -> None:
    search = fill(10_000)
    store = LabelStore(data)
    ids = [episode.episode_id for episode in search.page(EpisodeFilter(), 10_000).episodes]
    store.add_many(DETECTOR, '1', {episode_id: [Outcome('lift-any', Verdict.SUCCESS, 0.9)] for episode_id in ids})
    store.close()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert (
            search.page(EpisodeFilter('lift-any', judged=Judged.DETECTOR_SUCCESS), 60, after=ids[5000]).total == 10_000
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_a_damaged_index_says_how_to_mend_it(data: DataFolder, fill: Callable[[int], EpisodeSearch]) -> None:
    search = fill(3)
    data.labels.write_bytes(b'no database' * 1000)
    with pytest.raises(LabelError, match=r'cannot be searched.*mtopt labels rebuild'):
        search.page(EpisodeFilter(), 1)


def test_the_last_second_of_every_camera_is_read_and_no_more(data: DataFolder, make_episode: Make) -> None:
    episode = make_episode(steps=8)
    bag = write_episode(data.bags, episode, CellConfiguration())
    pictures = read_pictures(bag)
    assert pictures.final == episode.final.images
    last = [step.observation.images['main'] for step in episode.steps[-2:]] + [episode.final.images['main']]
    assert list(pictures.by_camera['main']) == last
    assert len(pictures.by_camera['side_left']) == 1
    assert len(read_pictures(bag, seconds=0.1).by_camera['main']) == FEWEST
    assert len(read_pictures(bag, seconds=100).by_camera['main']) == 9


def test_a_bag_that_is_gone_or_has_no_pictures_is_told(data: DataFolder, make_episode: Make) -> None:
    with pytest.raises(BagError, match='no bag of one episode'):
        read_pictures(data.bags / 'gone')
    episode = make_episode(steps=0)
    blind = replace(episode, final=replace(episode.final, images={}))
    assert read_pictures(write_episode(data.bags, blind, CellConfiguration())).by_camera == {}


def test_a_search_sees_what_the_catalogue_has_read(data: DataFolder, make_episode: Make) -> None:
    search = EpisodeSearch(data)
    write_episode(data.bags, make_episode(), CellConfiguration())
    assert search.page(EpisodeFilter(), 10).total == 0
    Catalogue(data).refresh()
    (episode,) = search.page(EpisodeFilter(), 10).episodes
    assert (episode.robot, episode.policy, episode.label) == ('robot1', 'learned 20261101T000000_000400', None)

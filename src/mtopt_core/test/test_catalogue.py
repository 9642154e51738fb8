from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mtopt_core.bag import BagWriter
from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Episode, Termination
from mtopt_core.episode_bag import read_episode, write_episode
from mtopt_core.errors import BagError
from mtopt_core.paths import DataFolder

CELL = CellConfiguration()
Make = Callable[..., Episode]


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


def _write(data: DataFolder, episode: Episode, **changes: object) -> Path:
    return write_episode(data.bags, replace(episode, info=replace(episode.info, **changes)), CELL)


def test_a_new_bag_is_catalogued_once(data: DataFolder, make_episode: Make) -> None:
    path = _write(data, make_episode(steps=3))
    catalogue = Catalogue(data)
    told: list[tuple[int, int]] = []
    assert catalogue.refresh(lambda done, total: told.append((done, total))).added == 1
    assert told[-1] == (1, 1)
    assert catalogue.refresh().added == 0
    (row,) = catalogue.episodes()
    info = make_episode().info
    assert (row.path, row.steps, row.simulated, row.termination) == (path, 3, True, Termination.SCRIPTED_ENDING)
    for name in ('episode_id', 'robot', 'task', 'skill', 'policy', 'model_version', 'previous_episode_id', 'stamp'):
        assert getattr(row, name) == getattr(info, name), name


def test_an_episode_that_was_read_is_added_as_a_scan_would_and_the_other_bags_are_not_looked_at(
    data: DataFolder, make_episode: Make
) -> None:
    path = _write(data, make_episode('b', steps=3))
    _write(data, make_episode('a'))
    catalogue = Catalogue(data)
    for _ in range(2):
        catalogue.add(read_episode(path))
        (added,) = catalogue.episodes()
    assert catalogue.refresh().added == 1
    assert catalogue.rebuild().added == 2
    assert catalogue.episodes()[1] == added


def test_episodes_are_chosen_by_what_they_are_and_come_in_order(data: DataFolder, make_episode: Make) -> None:
    _write(data, make_episode('c'), task='lift-milk', policy='scripted')
    _write(data, make_episode('a'), task='lift-milk')
    _write(data, make_episode('b'), task='place-any', skill='place')
    catalogue = Catalogue(data)
    catalogue.refresh()
    ids = [row.episode_id for row in catalogue.episodes()]
    assert ids == ['a', 'b', 'c']
    assert [row.episode_id for row in catalogue.episodes(task='lift-milk')] == ['a', 'c']
    assert [row.episode_id for row in catalogue.episodes(task='lift-milk', policy='scripted')] == ['c']
    assert [row.episode_id for row in catalogue.episodes(skill='place')] == ['b']


def test_a_bag_that_is_gone_is_forgotten(data: DataFolder, make_episode: Make) -> None:
    path = _write(data, make_episode())
    catalogue = Catalogue(data)
    catalogue.refresh()
    shutil.rmtree(path)
    assert catalogue.refresh().removed == 1
    assert catalogue.episodes() == []


def test_bad_bags_are_set_aside_with_a_reason_and_the_rest_goes_on(data: DataFolder, make_episode: Make) -> None:
    for name in ('a', 'truncated', 'z'):
        _write(data, make_episode(name))
    file = data.bags / 'truncated' / 'truncated_0.mcap'
    file.write_bytes(file.read_bytes()[:-100])
    (data.bags / 'empty').mkdir()
    _write(data, make_episode('renamed')).rename(data.bags / 'other')
    foreign = BagWriter(data.bags, 'foreign')
    foreign.write('/chatter', 'std_msgs/msg/Empty', b'\0\1\0\0\0', 1)
    foreign.finish()
    done = Catalogue(data).refresh()
    assert done.added == 2
    assert [row.episode_id for row in Catalogue(data).episodes()] == ['a', 'z']
    reasons = {path.name: (path / 'reason.txt').read_text() for path in done.set_aside}
    assert set(reasons) == {'empty', 'foreign', 'other', 'truncated'}
    assert 'is truncated' in reasons['truncated']
    assert '0 MCAP files' in reasons['empty']
    assert 'not of mtopt' in reasons['foreign']
    assert 'episode renamed' in reasons['other']
    assert sorted(path.name for path in data.bags.iterdir()) == ['a', 'z']


def test_a_bag_that_cannot_be_read_now_stays_and_is_read_later(data: DataFolder, make_episode: Make) -> None:
    path = _write(data, make_episode('whole'))
    file = path / 'whole_0.mcap'
    whole = file.rename(data.root / file.name)
    # Opening a link to itself fails, also for root.
    file.symlink_to(file.name)
    done = Catalogue(data).refresh()
    assert (done.added, done.set_aside) == (0, ())
    assert len(done.unreachable) == 1
    assert f'{file} cannot be read now' in done.unreachable[0]
    whole.replace(file)
    assert Catalogue(data).refresh().added == 1


def test_a_bag_being_written_is_left_alone(data: DataFolder, make_episode: Make) -> None:
    writer = BagWriter(data.bags, 'under_way')
    assert Catalogue(data).refresh() == Catalogue(data).refresh()
    assert (data.bags / '.under_way.partial').exists()
    writer.abandon()


def test_a_lost_or_damaged_index_is_rebuilt_from_the_bags(data: DataFolder, make_episode: Make) -> None:
    _write(data, make_episode())
    catalogue = Catalogue(data)
    catalogue.refresh()
    rows = catalogue.episodes()
    data.catalogue.write_bytes(b'no database' * 1000)
    with pytest.raises(BagError, match=r'catalogue\.sqlite.*mtopt bags check --again'):
        catalogue.episodes()
    assert catalogue.rebuild().added == 1
    assert catalogue.episodes() == rows
    data.catalogue.unlink()
    assert catalogue.refresh().added == 1


def test_a_folder_without_bags_is_an_empty_catalogue(data: DataFolder) -> None:
    assert Catalogue(data).refresh().added == 0
    assert Catalogue(data).episodes() == []

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mtopt_core.catalogue import Catalogue
from mtopt_core.episode_bag import episode_ids
from mtopt_core.errors import LabelError
from mtopt_core.label_store import HUMAN, SIMULATOR
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.splits import Split, splits_of


def splits(data):
    Catalogue(data).refresh()
    return splits_of(Catalogue(data).episodes())


def test_an_episode_keeps_its_split_whatever_is_collected_later(squares):
    squares.collect(40, seed=1)
    before = splits(squares.data)
    squares.collect(160, seed=2)
    after = splits(squares.data)
    assert before == {episode_id: after[episode_id] for episode_id in before}
    shares = [sum(split == wanted for split in after.values()) / len(after) for wanted in Split]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.07)


def test_a_place_episode_is_in_the_split_of_the_lift_it_goes_on_from(squares):
    jpegs, _ = squares.draw('place', np.random.default_rng(0))
    for number in range(30):
        squares.record(f'lift{number}', 'lift', jpegs)
        squares.record(f'place{number}', 'place', jpegs, previous_episode_id=f'lift{number}')
    found = splits(squares.data)
    assert len(set(found.values())) == 3
    assert all(found[f'place{number}'] == found[f'lift{number}'] for number in range(30))


def test_a_chain_of_episodes_is_split_together_whatever_became_of_their_bags(squares, tasks, configuration):
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    ids = []
    for number in range(30):
        previous = ''
        for link in range(3):
            episode_id = f'chain{number}_{link}'
            squares.record(episode_id, 'lift', jpegs, previous_episode_id=previous)
            ids.append(previous := episode_id)
    squares.label({episode_id: {'lift-any': True} for episode_id in ids})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    before = dict(zip(dataset.episode_ids, dataset.splits.tolist(), strict=True))
    assert set(before.values()) == set(Split)
    assert all(before[episode_id] == before[f'{episode_id[:-1]}0'] for episode_id in ids)

    for number in range(30):
        shutil.rmtree(squares.data.bags / f'chain{number}_0')
    after = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    assert dict(zip(after.episode_ids, after.splits.tolist(), strict=True)).items() <= before.items()


def test_a_dataset_joins_final_images_and_outcomes(squares, tasks, configuration):
    truths = squares.collect(12, seed=3)
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    assert dataset.episode_ids == tuple(sorted(truths))
    assert dataset.images(np.arange(12)).shape == (12, 2, 3, configuration.image_size, configuration.image_size, 3)
    assert dataset.present.all()
    for row, episode_id in enumerate(dataset.episode_ids):
        known = dict(zip(tasks.names, dataset.outcomes[row], strict=True))
        assert {task: bool(known[task]) for task in truths[episode_id]} == truths[episode_id]
        assert {task for task, said in zip(tasks.names, dataset.labelled[row], strict=True) if said} == set(
            squares.JUDGED
        )
    lift = dataset.own_skill[:, tasks.index('lift-any')]
    np.testing.assert_array_equal(lift, ~dataset.own_skill[:, tasks.index('place-any')])


def test_the_simulator_stands_in_for_people_only_by_name(squares, tasks, configuration):
    truths = squares.collect(4, seed=4)
    with pytest.raises(LabelError, match=r'none of the 4 episodes .* by human'):
        load_dataset(squares.data, tasks, [HUMAN], configuration)
    first = min(truths)
    squares.label({first: truths[first]}, HUMAN)
    assert load_dataset(squares.data, tasks, [HUMAN], configuration).episode_ids == (first,)


def test_a_bag_is_read_once(squares, tasks, configuration):
    squares.collect(6, seed=5)
    before = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    for row in Catalogue(squares.data).episodes():
        for file in row.path.iterdir():
            file.write_bytes(b'')
    after = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    rows = np.arange(len(before))
    np.testing.assert_array_equal(before.images(rows), after.images(rows))


def test_what_a_crash_left_unfinished_is_written_again(squares, tasks, configuration):
    squares.collect(6, seed=6)
    before = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    folder = next((squares.data.root / 'final_images').iterdir())
    with (folder / 'images').open('ab') as images, (folder / 'index.jsonl').open('ab') as index:
        images.write(b'half an image')
        index.write(b'{"episode_id": "half a li')
    squares.collect(6, seed=7)
    after = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    shutil.rmtree(folder)
    afresh = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    assert after.episode_ids == afresh.episode_ids
    assert len(after) == 2 * len(before)
    np.testing.assert_array_equal(after.images(np.arange(12)), afresh.images(np.arange(12)))


def test_two_readers_of_one_folder_share_the_work(squares, configuration):
    squares.collect(6, seed=8)
    Catalogue(squares.data).refresh()
    bags = {row.episode_id: row.path for row in Catalogue(squares.data).episodes()}
    one, other = (FinalImages(squares.data, configuration.looks) for _ in range(2))
    one.read(dict(list(bags.items())[:3]))
    reads: list[int] = []
    other.read(bags, lambda _done, total: reads.append(total))
    one.read(bags, lambda _done, total: reads.append(total))
    assert set(reads[:-1]) == {3}
    assert reads[-1] == 0
    np.testing.assert_array_equal(one.images(list(bags)), other.images(list(bags)))


def test_a_damaged_image_sets_its_bag_aside_and_the_rest_goes_on(squares, tasks, configuration):
    truths = squares.collect(4, seed=9)
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    squares.record('damaged', 'lift', {**jpegs, 'side_left': jpegs['side_left'][:200]})
    squares.label({'damaged': {'lift-any': True}})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    assert set(dataset.episode_ids) == set(truths)
    assert 'JPEG' in (squares.data.set_aside / 'damaged' / 'reason.txt').read_text()


def test_a_bag_that_was_removed_meanwhile_stops_nothing_and_is_read_once_it_is_back(squares, configuration):
    squares.collect(3, seed=11)
    bags = {name: squares.data.bags / name for name in episode_ids(squares.data.bags)}
    moved = next(iter(bags))
    elsewhere = bags[moved].rename(squares.data.root / moved)
    images = FinalImages(squares.data, configuration.looks)
    images.read(bags)
    assert images.present(list(bags)).any(axis=(1, 2)).tolist() == [False, True, True]
    elsewhere.rename(bags[moved])
    images.read(bags)
    assert images.present(list(bags)).any(axis=(1, 2)).all()


def test_an_episode_may_lack_views_but_not_all_of_them(squares, tasks, configuration):
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    squares.record('main_only', 'lift', {'main': jpegs['main']})
    squares.record('wrist_only', 'lift', {'wrist': jpegs['main']})
    squares.label({'main_only': {'lift-any': True}, 'wrist_only': {'lift-any': True}})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    assert dataset.episode_ids == ('main_only',)
    assert dataset.present.tolist() == [[[True, False, False]] * 2]


def test_large_images_are_kept_as_jpeg(squares, tasks, configuration):
    squares.collect(2, seed=10)
    paper = configuration.model_copy(update={'image_size': 256})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], paper)
    assert dataset.images(np.arange(2)).shape == (2, 2, 3, 256, 256, 3)
    folder = next((squares.data.root / 'final_images').iterdir())
    assert (folder / 'images').stat().st_size < 2 * 3 * 256 * 256

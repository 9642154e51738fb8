from __future__ import annotations

import pytest

from mtopt_collector.pairing import IMAGES_KEPT, JOINT_STATE, Pairing, Refusal

CAMERAS = ('main', 'wrist')
MS = 1_000_000


@pytest.fixture
def pairing() -> Pairing:
    return Pairing(CAMERAS, tolerance=20 * MS, max_age=500 * MS)


def lock_step(pairing: Pairing, stamp: int) -> list:
    sets = pairing.add_image('wrist', stamp, f'wrist {stamp}')
    sets += pairing.add_joint_state(stamp, f'joints {stamp}')
    return sets + pairing.add_image('main', stamp, f'main {stamp}')


@pytest.mark.parametrize('order', [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_lock_step_set_is_complete_with_its_last_piece_in_any_order(pairing, order):
    adders = [
        lambda: pairing.add_image('main', 5, 'a'),
        lambda: pairing.add_image('wrist', 5, 'b'),
        lambda: pairing.add_joint_state(5, 'c'),
    ]
    assert [len(adders[index]()) for index in order] == [0, 0, 1]


def test_a_set_holds_every_camera_and_the_joint_state(pairing):
    (paired,) = lock_step(pairing, 7)
    assert {name: image.item for name, image in paired.images.items()} == {'main': 'main 7', 'wrist': 'wrist 7'}
    assert paired.joint_state.item == 'joints 7'
    assert paired.stamp == 7


def test_free_running_cameras_get_the_nearest_joint_state_and_image(pairing):
    sets = []
    for tick in range(0, 400, 10):
        sets += pairing.add_joint_state(tick * MS, tick)
        if tick % 30 == 0:
            sets += pairing.add_image('main', (tick + 1) * MS, tick)
        if tick % 30 == 10:
            sets += pairing.add_image('wrist', (tick + 3) * MS, tick)
    assert len(sets) == 13
    for paired in sets:
        main, wrist = paired.images['main'].stamp, paired.images['wrist'].stamp
        assert abs(main - wrist) == 12 * MS
        assert abs(main - paired.joint_state.stamp) <= 5 * MS
        assert paired.stamp == min(main, wrist, paired.joint_state.stamp)


def test_stamps_that_go_backwards_are_refused(pairing):
    lock_step(pairing, 100 * MS)
    assert lock_step(pairing, 90 * MS) == []
    assert pairing.refused[Refusal.BACKWARDS] == 3


def test_an_image_older_than_the_joint_state_allows_is_refused(pairing):
    pairing.add_joint_state(2000 * MS, 'new')
    assert pairing.add_image('main', 1400 * MS, 'old') == []
    assert pairing.refused == {Refusal.STALE: 1}


def test_a_set_whose_last_piece_comes_too_late_is_refused(pairing):
    pairing.add_image('main', 1000 * MS, 'main')
    pairing.add_joint_state(1000 * MS, 'joints')
    pairing.add_joint_state(1600 * MS, 'joints')
    assert pairing.add_image('wrist', 1600 * MS, 'wrist') == []
    assert sum(pairing.refused.values()) == 1


def test_a_set_that_outgrew_its_age_while_it_waited_is_refused(pairing):
    pairing.add_joint_state(1000 * MS, 'joints')
    pairing.add_image('main', 1000 * MS, 'main')
    pairing.add_joint_state(1510 * MS, 'joints')
    assert pairing.add_image('wrist', 1015 * MS, 'wrist') == []
    assert pairing.refused == {Refusal.STALE: 1}


def test_a_gap_beyond_the_tolerance_is_refused(pairing):
    pairing.add_image('main', 100 * MS, 'main')
    pairing.add_joint_state(100 * MS, 'joints')
    assert pairing.add_image('wrist', 121 * MS, 'wrist') == []
    assert pairing.refused == {Refusal.INCOMPLETE: 1}


def test_a_slow_camera_does_not_repeat_a_set(pairing):
    pairing.add_joint_state(0, 'joints')
    pairing.add_image('wrist', 0, 'wrist')
    assert len(pairing.add_image('main', 0, 'main')) == 1
    pairing.add_joint_state(10 * MS, 'joints')
    pairing.add_image('main', 10 * MS, 'main')
    assert pairing.add_image('wrist', 40 * MS, 'wrist') == []
    assert pairing.refused == {Refusal.BACKWARDS: 1}


def test_a_dead_camera_is_named_and_costs_bounded_memory(pairing):
    for tick in range(100):
        pairing.add_joint_state(tick * MS, 'joints')
        assert pairing.add_image('main', tick * MS, 'main') == []
    assert pairing.lagging(1000 * MS) == ('wrist',)
    assert pairing.refused[Refusal.INCOMPLETE] == 100 - IMAGES_KEPT


@pytest.mark.parametrize('dead', ['main', 'wrist', JOINT_STATE])
def test_a_stream_that_stops_while_others_go_on_is_named(pairing, dead):
    lock_step(pairing, 100 * MS)
    assert pairing.lagging(200 * MS) == ()
    for name in ('main', 'wrist', JOINT_STATE):
        if name == JOINT_STATE != dead:
            pairing.add_joint_state(301 * MS, 'joints')
        elif name != dead:
            pairing.add_image(name, 301 * MS, 'image')
    assert pairing.lagging(200 * MS) == (dead,)


def test_nothing_lags_where_nothing_moves(pairing):
    assert pairing.lagging(0) == ()
    lock_step(pairing, 100 * MS)
    assert pairing.lagging(0) == ()


@pytest.mark.parametrize('first', ['main', 'wrist', JOINT_STATE])
def test_a_clock_that_starts_anew_is_followed(pairing, first):
    assert lock_step(pairing, 900_000 * MS)
    order = [first, *(name for name in ('main', 'wrist', JOINT_STATE) if name != first)]
    sets = []
    for stamp in (1000 * MS, 1500 * MS):
        for name in order:
            add = pairing.add_joint_state if name == JOINT_STATE else lambda s, i, n=name: pairing.add_image(n, s, i)
            sets += add(stamp, name)
    assert [paired.stamp for paired in sets] == [1000 * MS, 1500 * MS]

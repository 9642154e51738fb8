import numpy as np
import pytest

from mtopt_collector.blindness import REPEATS, BlindnessWatch
from mtopt_core.images import encode_jpeg

RNG = np.random.default_rng(0)
STEP = np.array([0.05, 0.0, 0.0])
FROZEN_AFTER = 0.1  # m


def picture():
    return encode_jpeg(RNG.integers(0, 256, (64, 64, 3), np.uint8), 90)


def smooth(low, high):
    ramp = np.linspace(low, high, 64).astype(np.uint8)
    return encode_jpeg(np.broadcast_to(ramp[:, None, None], (64, 64, 3)).copy(), 95)


def test_pictures_that_change_are_fine():
    watch = BlindnessWatch(FROZEN_AFTER)
    assert not any(watch.look({'main': picture(), 'wrist': picture()}, number * STEP) for number in range(20))


@pytest.mark.parametrize('level', [0, 3, 128, 255])
def test_a_picture_of_one_brightness_is_blind_and_names_its_camera(level):
    watch = BlindnessWatch(FROZEN_AFTER)
    assert 'camera wrist is black' in watch.look({'main': picture(), 'wrist': smooth(level, level)}, STEP)


def test_a_dim_picture_with_something_on_it_is_not_black():
    assert BlindnessWatch(FROZEN_AFTER).look({'main': smooth(2, 20)}, STEP) == ''


def test_a_picture_that_stays_while_the_arm_moves_is_frozen():
    watch, frozen = BlindnessWatch(FROZEN_AFTER), picture()
    told = [watch.look({'main': picture(), 'wrist': frozen}, number * STEP) for number in range(REPEATS + 2)]
    assert told[:REPEATS] == [''] * REPEATS
    assert 'camera wrist is frozen' in told[REPEATS]
    assert watch.look({'main': picture(), 'wrist': picture()}, STEP) == ''


def test_a_picture_that_stays_while_the_arm_rests_is_fine():
    watch, still = BlindnessWatch(FROZEN_AFTER), picture()
    assert not any(watch.look({'main': still}, STEP) for _ in range(50))


def test_a_rendered_picture_without_the_arm_may_stay_for_longer():
    watch, still = BlindnessWatch(frozen_after=2.0), picture()
    told = [watch.look({'main': still}, number * STEP) for number in range(50)]
    assert not any(told[:40])
    assert 'camera main is frozen' in told[-1]

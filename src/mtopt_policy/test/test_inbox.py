from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mtopt_core.episode import Observation
from mtopt_core.messages import observation_to_message
from mtopt_policy.inbox import Inbox, WaitCancelledError

VIEWS = ('main', 'wrist')


def message(stamp: int, *cameras: str):
    images = dict.fromkeys(cameras or VIEWS, b'')
    return observation_to_message(Observation(stamp, images, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.2))


def never() -> bool:
    return False


def fill(inbox: Inbox, stamp: int) -> None:
    for view in VIEWS:
        inbox.add_image(view, stamp, f'{view} {stamp}'.encode())


def test_an_observation_comes_with_the_images_it_names_in_whatever_order_they_arrive():
    inbox = Inbox()
    inbox.add_image('main', 5, b'main 5')
    inbox.add_image('main', 6, b'main 6')
    inbox.add_observation(message(5))
    assert inbox.wait_for_observation(0, VIEWS, 0.0, never) is None
    inbox.add_image('wrist', 5, b'wrist 5')
    assert inbox.wait_for_observation(0, VIEWS, 0.0, never).images == {'main': b'main 5', 'wrist': b'wrist 5'}


def test_the_first_observation_at_or_after_the_end_of_the_step_is_taken():
    inbox = Inbox()
    for stamp in (1, 2, 3):
        inbox.add_observation(message(stamp))
    assert inbox.wait_for_observation(2, (), 0.0, never).stamp == 2


def test_an_episode_begins_with_the_newest_observation_that_has_its_images():
    inbox = Inbox()
    for stamp in (1, 2, 3):
        inbox.add_observation(message(stamp))
    for stamp in (1, 2):
        fill(inbox, stamp)
    assert inbox.wait_for_observation(1, VIEWS, 0.0, never, newest=True).stamp == 2
    assert inbox.wait_for_observation(3, VIEWS, 0.0, never, newest=True) is None


def test_waiting_ends_when_the_observation_comes():
    inbox = Inbox()

    def later() -> None:
        time.sleep(0.1)
        fill(inbox, 7)
        inbox.add_observation(message(7))

    threading.Thread(target=later).start()
    start = time.monotonic()
    assert inbox.wait_for_observation(7, VIEWS, 5.0, never).stamp == 7
    assert time.monotonic() - start < 1.0


def test_waiting_gives_up_when_cancelled():
    with pytest.raises(WaitCancelledError):
        Inbox().wait_for_observation(0, (), 5.0, lambda: True)


def test_what_is_missing_can_be_told():
    inbox = Inbox()
    assert inbox.missing_views(0, VIEWS) is None
    inbox.add_observation(message(5, 'main'))
    inbox.add_image('main', 5, b'')
    assert inbox.missing_views(0, VIEWS) == ['wrist']


def test_after_a_restart_of_the_clock_old_observations_are_gone():
    inbox = Inbox()
    assert not inbox.add_observation(message(100))
    assert inbox.add_observation(message(1))
    assert inbox.wait_for_observation(50, (), 0.0, never) is None
    assert inbox.wait_for_observation(0, (), 0.0, never).stamp == 1

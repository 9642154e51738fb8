"""Tidying with a robot that keeps count of what lies where."""

import asyncio

import numpy as np
import pytest

from mtopt_collector.tidying import ArmBlockedError, Budget, StuckError, Tidying
from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN


class CountingHands:
    """Picks every second time where something lies."""

    def __init__(self, left, right, blocked=0, seconds_per_move=1.0):
        self.bins = {LEFT_BIN: left, RIGHT_BIN: right}
        self.blocked = blocked
        self.held = False
        self.tries = 0
        self.lowest = []
        self.steps = []
        self.now = 0.0
        self._seconds_per_move = seconds_per_move

    async def move(self, position, yaw, gripper):
        self.now += self._seconds_per_move
        if self.blocked:
            self.blocked -= 1
            raise ArmBlockedError('joint 3 is 0.2 rad from where it should be')
        self.position = position
        if gripper == 'open' and self.held:
            self.held = False
            self.bins[self._bin()] += 1

    async def pick(self, seed):
        assert not self.held
        self.tries += 1
        name = self._bin()
        if self.bins[name] and self.tries % 2:
            self.bins[name] -= 1
            self.held = True
        return self.held

    async def step(self, displacement):
        self.steps.append(displacement)

    def seconds(self):
        return self.now

    def _bin(self):
        return next(one.name for one in CELL.bins if one.contains(*self.position[:2]))


def tidy(hands, **budget):
    told = []
    returned = asyncio.run(Tidying(hands, CELL, Budget(**budget), told.append).run(np.random.default_rng(0)))
    return returned, told


def test_what_is_in_the_left_bin_is_put_back_and_the_right_bin_stirred():
    hands = CountingHands(left=3, right=1)
    returned, told = tidy(hands)
    assert returned == 3
    assert hands.bins == {LEFT_BIN: 0, RIGHT_BIN: 4}
    assert not hands.held
    assert len(hands.steps) == 24
    assert np.abs(hands.steps).max() < 0.1
    assert any('stirring' in one for one in told)
    assert hands.position[2] > 0.1


def test_an_empty_left_bin_is_fine_when_something_in_the_right_one_can_be_grasped():
    assert tidy(CountingHands(left=0, right=2))[0] == 0


def test_nothing_to_grasp_anywhere_calls_a_person():
    hands = CountingHands(left=0, right=0)
    with pytest.raises(StuckError, match='8 picks in both bins brought nothing up'):
        tidy(hands)
    assert hands.tries == 8


def test_an_arm_that_is_blocked_for_a_moment_tries_again_from_above():
    hands = CountingHands(left=1, right=1, blocked=2)
    assert tidy(hands)[0] == 1
    assert hands.steps[0][2] > 0


def test_an_arm_that_stays_blocked_calls_a_person():
    with pytest.raises(StuckError, match='blocked: joint 3'):
        tidy(CountingHands(left=1, right=1, blocked=3))


def test_tidying_ends_when_its_time_is_over():
    with pytest.raises(StuckError, match='longer than 20 s'):
        tidy(CountingHands(left=10**6, right=0), seconds=20.0)

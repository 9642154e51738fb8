"""Gazebo behind the topics of a real cell, as MuJoCo is."""

from __future__ import annotations

import pytest
from driven_robot import Robot

from mtopt_core.messages import stamp_of

SECOND = 1_000_000_000
PATIENCE = 180.0


@pytest.fixture(scope='module')
def robot():
    robot = Robot('simulator:=gazebo', patience=PATIENCE)
    yield robot
    robot.close()


@pytest.mark.parametrize('gripper_first', [True, False])
def test_a_step_moves_exactly_its_length_and_shows_everything_once(robot, gripper_first):
    assert robot.step_that_shows_everything_once(0.1, gripper_first) == pytest.approx(0.1, abs=4e-3)


def test_a_held_object_counts_as_lifted(robot):
    stamp = stamp_of(robot.reset(seed=3, skill='place', holding=True).stamp)
    assert robot.shown(stamp)
    robot.command(0.1, finger=0.0)
    assert robot.shown(stamp + SECOND // 2)
    assert 'lift-any' in {outcome.task for outcome in robot.truth[-1].outcomes if outcome.verdict}


def test_an_unknown_joint_is_refused_and_the_next_command_runs(robot):
    stamp = stamp_of(robot.reset(seed=1, skill='lift').stamp)
    assert robot.shown(stamp)
    names, robot.joints[-1].name[0] = list(robot.joints[-1].name), 'elbow'
    robot.command(0.1)
    assert not robot.until(lambda: robot.clocks[-1] > stamp, 1.0)
    robot.joints[-1].name = names
    robot.command(0.1)
    assert robot.shown(stamp + SECOND // 2)

from __future__ import annotations

import math

import pytest

from mtopt_collector.joint_reading import JointReader, JointStateError

ARM = ('shoulder', 'elbow')


@pytest.fixture
def reader() -> JointReader:
    return JointReader(ARM, 'finger', finger_open=0.04)


def test_joints_are_found_in_any_order_among_others(reader):
    reading = reader.read(5, ['finger', 'elbow', 'wheel', 'shoulder'], [0.04, 0.2, 9.0, 0.1])
    assert reading.positions.tolist() == [0.1, 0.2]
    assert reading.gripper_width == 0.08
    assert reading.stamp == 5


def test_the_order_may_change_from_message_to_message(reader):
    reader.read(0, ['shoulder', 'elbow', 'finger'], [1, 2, 0])
    assert reader.read(0, ['elbow', 'shoulder', 'finger'], [2, 1, 0]).positions.tolist() == [1, 2]


@pytest.mark.parametrize(('finger', 'closed'), [(0.04, False), (0.039, False), (0.035, True), (0.0, True)])
def test_fingers_around_an_object_are_closed(reader, finger, closed):
    assert reader.read(0, [*ARM, 'finger'], [0, 0, finger]).gripper_closed is closed


def test_a_missing_joint_is_named(reader):
    with pytest.raises(JointStateError, match=r'lacks elbow, finger; it lists shoulder'):
        reader.read(0, ['shoulder'], [0])


def test_a_joint_that_is_not_finite_is_named(reader):
    with pytest.raises(JointStateError, match='not finite for elbow'):
        reader.read(0, [*ARM, 'finger'], [0, math.nan, 0])

from __future__ import annotations

import time

import numpy as np
import pytest

from mtopt_core.description.cell_table import CELL
from mtopt_core.description.urdf import urdf_text
from mtopt_core.errors import KinematicsError
from mtopt_core.kinematics import Kinematics, downward

HOME = np.array(CELL.arm.home)


@pytest.fixture(scope='module')
def kinematics() -> Kinematics:
    return Kinematics.from_urdf(urdf_text())


def poses(count: int):
    rng = np.random.default_rng(1)
    for number in range(count):
        home = CELL.bins[number % 2]
        place = home.centre + rng.uniform(-0.5, 0.5, 2) * home.inside
        yield np.append(place, rng.uniform(0.005, 0.30)), rng.uniform(-2.0, 2.0)


def test_forward_undoes_inverse_all_over_both_bins(kinematics):
    for position, yaw in poses(300):
        joints = kinematics.inverse(HOME, position, yaw)
        assert np.all(joints >= kinematics.limits.lower)
        assert np.all(joints <= kinematics.limits.upper)
        reached, rotation = kinematics.forward(joints)
        assert reached == pytest.approx(position, abs=1.1e-4)
        assert rotation == pytest.approx(downward(yaw), abs=2e-3)
        assert kinematics.yaw(joints) == pytest.approx(yaw, abs=2e-3)


def test_inverse_undoes_forward_from_near_by(kinematics):
    rng = np.random.default_rng(2)
    for position, yaw in poses(20):
        joints = kinematics.inverse(HOME, position, yaw)
        start = np.clip(joints + rng.normal(0, 0.02, 7), kinematics.limits.lower, kinematics.limits.upper)
        again = kinematics.inverse(start, position, yaw)
        assert kinematics.forward(again)[0] == pytest.approx(kinematics.forward(joints)[0], abs=2.2e-4)
        assert np.abs(again - joints).max() < 0.5


def test_the_arm_keeps_its_posture_where_the_pose_stays(kinematics):
    position, yaw = np.array([0.5, -0.1, 0.2]), 0.0
    bent = kinematics.inverse(HOME + np.array([0, 0, 1.2, 0, 0, 0, 0]), position, yaw)
    assert abs(bent[2] - kinematics.inverse(HOME, position, yaw)[2]) > 0.4
    assert np.abs(kinematics.inverse(bent, position + np.array([0.0, 0.0, 0.01]), yaw) - bent).max() < 0.3


def test_no_solution_lies_beyond_a_joints_limit(kinematics):
    solved = 0
    for position, yaw in poses(100):
        try:
            joints = kinematics.inverse(HOME, position, 1.6 * yaw)
        except KinematicsError:
            continue
        solved += 1
        assert np.all(joints >= kinematics.limits.lower)
        assert np.all(joints <= kinematics.limits.upper)
    assert 50 < solved < 100


def test_a_step_is_solved_in_about_a_millisecond(kinematics):
    position, yaw = np.array([0.5, -0.17, 0.12]), 0.4
    start = kinematics.inverse(HOME, position, yaw)
    spent = []
    for _ in range(50):
        begin = time.thread_time()
        kinematics.inverse(start, position + np.array([0.05, 0.04, -0.08]), yaw + 0.3)
        spent.append(time.thread_time() - begin)
    assert np.median(spent) < 2e-3  # 0.2 ms on a quiet machine


def test_poses_out_of_reach_are_named(kinematics):
    with pytest.raises(KinematicsError, match=r'1\.500, 0\.000, 0\.300'):
        kinematics.inverse(HOME, np.array([1.5, 0.0, 0.3]), 0.0)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('no xml', 'not XML'),
        ('<robot name="r"><link name="base"/></robot>', 'no chain of joints leads from base to tip'),
        (
            '<robot name="r"><joint name="j" type="prismatic"><parent link="base"/><child link="tip"/></joint></robot>',
            'joint j is prismatic',
        ),
        (
            '<robot name="r"><joint name="j" type="fixed"><parent link="base"/><child link="tip"/></joint></robot>',
            'no joint moves',
        ),
    ],
)
def test_a_urdf_that_is_no_arm_is_refused(text, message):
    with pytest.raises(KinematicsError, match=message):
        Kinematics.from_urdf(text)

"""What holds in MuJoCo and in Gazebo alike."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN, start_pose
from mtopt_core.description.parts import Motion
from mtopt_core.images import decode_jpeg
from mtopt_core.tasks import load_tasks
from mtopt_core.trajectory import Trajectory

TASKS = load_tasks()
STEP = 500_000_000
MINUTES = int(os.environ.get('MTOPT_GAZEBO_MINUTES', '10'))
"""Of simulated time over which the clock must not drift; three hours in `make gazebo-long`."""
OPEN = np.array([[CELL.arm.finger_open]])


def hold(cell, seconds=0.5):
    arm = Trajectory.at_rest([seconds], cell.joint_positions[None])
    cell.run(arm, Trajectory.at_rest([seconds], np.zeros((1, 1)) if cell.gripper_closed else OPEN))


def unhurried(cell, joints):
    """Halves of a second in which every joint gets there at no more than three quarters of its largest velocity."""
    limits = np.array([joint.velocity for joint in CELL.arm.joints if joint.motion is Motion.REVOLUTE])
    return np.ceil(2 * 2.0 * np.abs((joints - cell.joint_positions) / limits).max()) / 2


def test_the_tip_is_where_the_kinematics_say_in_200_poses(cell):
    rng = np.random.default_rng(0)
    cell.reset(1)
    for number in range(200):
        joints = cell.kinematics.inverse(cell.joint_positions, *start_pose((RIGHT_BIN, LEFT_BIN)[number % 2], rng))
        seconds = unhurried(cell, joints)
        cell.run(Trajectory.at_rest([seconds], joints[None]), Trajectory.at_rest([seconds], OPEN))
        position, _ = cell.kinematics.forward(cell.joint_positions)
        assert cell.tip_position == pytest.approx(position, abs=1e-3)
        turn = cell.yaw - cell.kinematics.yaw(cell.joint_positions)
        assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 5e-3
        assert cell.joint_positions == pytest.approx(joints, abs=0.05)


def test_an_observation_has_every_field(cell):
    cell.reset(6, RIGHT_BIN)
    observation = cell.observation(95)
    assert set(observation.images) == set(CAMERAS)
    assert all(decode_jpeg(image).shape == (64, 64, 3) for image in observation.images.values())
    assert observation.stamp == cell.stamp
    assert observation.joint_positions.shape == (7,)
    assert observation.height_to_bottom == pytest.approx(cell.tip_position[2])
    assert not observation.gripper_closed
    assert observation.gripper_width == pytest.approx(2 * CELL.arm.finger_open, abs=1e-3)


def test_a_step_takes_exactly_its_time_and_the_arm_is_there_at_its_end(cell, hand):
    cell.reset(2, RIGHT_BIN)
    hand.go(np.array([*CELL.bin(RIGHT_BIN).centre, 0.25]), 0.0)
    for sign in (1, -1, 1, -1):
        stamp, before = cell.stamp, cell.tip_position
        hand.act(0.05 * sign, -0.06 * sign, 0.04 * sign, yaw=0.2 * sign)
        assert cell.stamp == stamp + STEP
        assert cell.tip_position - before == pytest.approx([0.05 * sign, -0.06 * sign, 0.04 * sign], abs=4e-3)
        assert np.abs(cell.joint_velocities).max() < 0.1


def test_no_image_is_older_than_the_arm_in_it(cell, hand):
    """The ball in the hand is seen, in every step, where the arm holds it at that step's end."""
    size = cell.image_size
    cell.reset(next_with_ball(cell), LEFT_BIN, require='ball')
    hand.go(cell.grasp('ball').position, cell.grasp('ball').yaw)
    hand.act(close_gripper=True)
    hand.act(z=0.1)
    assert cell.object_states()['ball'].held
    seen = 0
    for step in range(12):
        hand.act(0.0, 0.06 * (-1) ** step, 0.05 * (-1) ** step)
        image = cell.render('side_right').astype(int)
        purple = (image[..., 2] > image[..., 1] + 50) & (image[..., 0] > image[..., 1] + 20)
        if purple.sum() >= 4:
            middle = (np.argwhere(purple).mean(axis=0) + 0.5)[::-1]
            wanted = cell.viewpoint('side_right').project(cell.object_positions()['ball'][None])[0] * size
            assert np.abs(middle - wanted).max() < 0.075 * size
            seen += 1
    assert seen >= 8


def next_with_ball(cell):
    for seed in range(50, 80):
        cell.reset(seed, LEFT_BIN, require='ball')
        if cell.grasp('ball').room > 0:
            return seed
    raise AssertionError('no scene with a free ball')


def test_the_same_seed_makes_the_same_scene_twice(cell, hand):
    scenes = []
    for _ in range(2):
        cell.reset(11, RIGHT_BIN)
        scenes.append((cell.joint_positions, cell.object_positions(), [cell.render(name) for name in CAMERAS]))
        cell.reset(12, LEFT_BIN, holding=True)
        hand.act(0.05, 0.05)
    (joints, places, pictures), (joints_again, places_again, pictures_again) = scenes
    assert joints_again == pytest.approx(joints, abs=1e-3)
    assert places.keys() == places_again.keys()
    for name, place in places.items():
        assert places_again[name] == pytest.approx(place, abs=5e-3)
    for picture, again in zip(pictures, pictures_again, strict=True):
        assert np.abs(picture.astype(int) - again).mean() < 2.0


def test_both_simulators_draw_the_same_scene(gazebo, mujoco):
    for seed in range(3):
        gazebo.reset(seed, RIGHT_BIN)
        mujoco.reset(seed, RIGHT_BIN)
        places = mujoco.object_positions()
        assert gazebo.object_positions().keys() == places.keys()
        for name, place in gazebo.object_positions().items():
            assert place == pytest.approx(places[name], abs=0.04 if CELL.category(name).rolls else 0.02), name
        assert gazebo.tip_position == pytest.approx(mujoco.tip_position, abs=2e-3)
        for camera in CAMERAS:
            viewpoint = mujoco.viewpoint(camera)
            assert gazebo.viewpoint(camera).position == pytest.approx(viewpoint.position, abs=6e-3)
            difference = np.abs(gazebo.render(camera).astype(int) - mujoco.render(camera))
            assert difference.mean() < 25, camera


def test_what_lies_there_after_a_reset_has_come_to_rest(cell):
    for seed in range(5):
        cell.reset(seed)
        before = cell.object_positions()
        hold(cell)
        for name, place in cell.object_positions().items():
            assert place == pytest.approx(before[name], abs=4e-3), name
            assert CELL.bin(RIGHT_BIN).contains(*place[:2])
        for name, state in cell.object_states().items():
            assert state.lowest > -2e-3, name


def test_outcomes_agree_with_geometry(cell, hand):
    """What the hand holds counts as lifted only up there, and as placed only down there and let go."""
    placed = 0
    for seed in range(40, 46):
        cell.reset(seed, LEFT_BIN, holding=True)
        name = next(name for name, state in cell.object_states().items() if state.held)
        hand.go(np.array([*CELL.bin(LEFT_BIN).centre, 0.3]))
        truth = cell.outcomes(TASKS)
        assert truth['lift-any']
        assert truth.get(f'lift-{name}', True)
        assert not truth['place-any']
        hand.go(np.array([*CELL.bin(LEFT_BIN).centre, 0.05]))
        assert not cell.outcomes(TASKS)['place-any']
        hand.act(open_gripper=True)
        hand.act(z=0.1)
        truth, place = cell.outcomes(TASKS), cell.object_positions()[name]
        assert not truth['lift-any']
        sections = [
            task for task, solved in truth.items() if solved and task.startswith('place') and task != 'place-any'
        ]
        assert len(sections) == truth['place-any']
        if truth['place-any']:
            assert CELL.bin(LEFT_BIN).contains(*place[:2])
        placed += truth['place-any']
    assert placed >= 3


def test_a_straight_grasp_lifts_what_it_closes_on(cell, hand):
    tried = lifted = 0
    for seed in range(200, 260):
        cell.reset(seed, RIGHT_BIN, require='box')
        aim = cell.grasp('box')
        if aim.room <= 0:
            continue
        tried += 1
        hand.go(aim.position, aim.yaw)
        hand.act(close_gripper=True)
        hand.act(z=0.1)
        hand.act(z=0.1)
        lifted += cell.object_states()['box'].held
        if tried == 4:
            break
    assert tried == 4
    assert lifted >= 3


def test_the_clock_does_not_drift(cell):
    cell.reset(0)
    start, began = cell.stamp, time.monotonic()
    for number in range(1, MINUTES * 6 + 1):
        hold(cell, 10.0)
        assert cell.stamp - start == number * 10_000_000_000
        if number % 60 == 0:
            print(f'{number // 6} simulated minutes without drift in {(time.monotonic() - began) / 60:.1f} minutes')

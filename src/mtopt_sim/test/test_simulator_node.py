from __future__ import annotations

import time

import numpy as np
import pytest
import rclpy
from driven_robot import Robot
from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image, JointState

from mtopt_core.environment import free_domain
from mtopt_core.messages import stamp_of
from mtopt_core.trajectory import Trajectory
from mtopt_msgs.msg import EpisodeInfo
from mtopt_node.conversions import trajectory_to_message
from mtopt_node.qos import EVENTS, IMAGES
from mtopt_sim.simulator_node import SimulatorNode

SECOND = 1_000_000_000


@pytest.fixture
def robot():
    robot = Robot()
    yield robot
    robot.close()


@pytest.mark.parametrize('gripper_first', [True, False])
def test_a_step_moves_exactly_its_length_and_shows_everything_once(robot, gripper_first):
    assert robot.step_that_shows_everything_once(0.1, gripper_first) == pytest.approx(0.1, abs=2e-3)


def test_who_joins_late_is_shown_the_scene_too(robot):
    stamp = stamp_of(robot.reset(seed=3, skill='lift').stamp)
    assert robot.shown(stamp)
    joints, pictures = [], []
    robot.node.create_subscription(JointState, 'joint_states', joints.append, EVENTS)
    robot.node.create_subscription(Image, 'camera/wrist/image', pictures.append, IMAGES)
    assert robot.until(lambda: joints and pictures)
    assert {stamp_of(message.header.stamp) for message in (*joints, *pictures)} == {stamp}


def test_the_same_seed_shows_the_same_scene(robot):
    pictures = []
    for seed in (5, 6, 5):
        stamp = stamp_of(robot.reset(seed=seed, skill='lift').stamp)
        assert robot.shown(stamp)
        pictures.append(bytes(robot.images['main'][-1].data))
    assert pictures[0] == pictures[2]
    assert pictures[0] != pictures[1]


def test_a_held_object_counts_as_lifted_under_the_running_episodes_id(robot):
    robot.episode.publish(EpisodeInfo(phase=EpisodeInfo.PHASE_START, episode_id='e7'))
    stamp = stamp_of(robot.reset(seed=2, skill='place', holding=True).stamp)
    assert robot.shown(stamp)
    robot.command(0.1, finger=0.0)
    assert robot.shown(stamp + SECOND // 2)
    truth = robot.truth[-1]
    assert (truth.source, truth.episode_id) == ('simulator', 'e7')
    assert 'lift-any' in {outcome.task for outcome in truth.outcomes if outcome.verdict}
    robot.command(0.1)
    assert robot.shown(stamp + SECOND)
    assert 'lift-any' not in {outcome.task for outcome in robot.truth[-1].outcomes if outcome.verdict}


def test_what_cannot_be_carried_out_is_rejected_by_name_and_the_next_command_runs(robot):
    stamp = stamp_of(robot.reset(seed=1, skill='lift').stamp)
    assert robot.shown(stamp)
    names = robot.joints[-1].name[:7]
    nan = Trajectory.at_rest([0.5], np.full((1, 7), np.nan))
    robot.arm.publish(trajectory_to_message(nan, names))
    robot.arm.publish(trajectory_to_message(Trajectory.at_rest([0.5], np.zeros((1, 7))), ['j'] * 7))
    robot.arm.publish(trajectory_to_message(Trajectory.at_rest([60.0], np.zeros((1, 7))), names))
    assert not robot.until(lambda: robot.clocks[-1] > stamp, 0.5)
    robot.command(0.05)
    assert robot.shown(stamp + SECOND // 2)


def test_an_unknown_skill_or_seed_is_refused_and_named(robot):
    response = robot.reset(seed=1, skill='dance')
    assert not response.success
    assert 'dance' in response.message
    assert not robot.reset(seed=-4).success


def test_an_inactive_simulator_moves_nothing_and_resets_nothing(robot):
    stamp = stamp_of(robot.reset(seed=1, skill='lift').stamp)
    assert robot.shown(stamp)
    robot.change(Transition.TRANSITION_DEACTIVATE)
    refused = robot.reset(seed=2, skill='lift')
    assert not refused.success
    assert 'not active' in refused.message
    robot.command(0.1)
    assert not robot.until(lambda: robot.clocks[-1] > stamp, 0.5)
    robot.change(Transition.TRANSITION_ACTIVATE)
    assert robot.reset(seed=2, skill='lift').success


@pytest.fixture
def streaming():
    """A simulator at real time in this process, whose clock is ticked by hand."""
    parameters = ('real_time:=true', 'rate:=100.0', 'image_size:=16', "cameras:=['main']")
    arguments = ['--ros-args', '-r', '__ns:=/robot1', *(part for one in parameters for part in ('-p', one))]
    rclpy.init(args=arguments, domain_id=free_domain())
    node = SimulatorNode()
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    yield node
    node.cleanup()
    node.destroy_node()
    rclpy.try_shutdown()


def test_at_real_time_no_tick_runs_ahead_of_the_wall(streaming):
    start = streaming._cell.stamp
    for _ in range(50):
        streaming._tick()
    assert abs(streaming._cell.stamp - start - SECOND // 2) <= streaming._cell.tick


def test_at_real_time_images_stream_and_the_clock_follows_the_wall():
    robot = Robot('real_time:=true', 'rate:=20.0')
    try:
        assert robot.until(lambda: robot.clocks)
        first, start = robot.clocks[-1], time.monotonic()
        assert robot.until(lambda: robot.clocks[-1] - first > 2 * SECOND)
        assert time.monotonic() - start > 1.5
        before = robot.joints[-1].position[0]
        robot.command(0.1)
        assert robot.until(lambda: robot.joints[-1].position[0] > before + 0.095)
    finally:
        robot.close()

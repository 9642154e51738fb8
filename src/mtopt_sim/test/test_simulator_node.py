from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL
from mtopt_core.trajectory import Trajectory
from mtopt_msgs.msg import EpisodeInfo, TaskOutcomes
from mtopt_msgs.srv import ResetCell
from mtopt_node.conversions import stamp_of, trajectory_to_message
from mtopt_node.qos import COMMANDS, EVENTS, IMAGES

SECOND = 1_000_000_000


class Robot:
    """Drives the simulator as the nodes above it do, over real DDS."""

    def __init__(self, *parameters: str) -> None:
        domain = os.getpid() % 200 + 1
        command = [sys.executable, '-m', 'mtopt_sim.simulator_node', '--ros-args', '-r', '__ns:=/robot1']
        for parameter in ('image_size:=32', *parameters):
            command += ['-p', parameter]
        self.process = subprocess.Popen(
            command, env={**os.environ, 'ROS_DOMAIN_ID': str(domain)}, stderr=subprocess.PIPE, text=True
        )
        rclpy.init(domain_id=domain)
        self.node = rclpy.create_node('driver', namespace='/robot1')
        self.joints: list[JointState] = []
        self.clocks: list[int] = []
        self.truth: list[TaskOutcomes] = []
        self.images: dict[str, list[Image]] = {name: [] for name in CAMERAS}
        subscribe = self.node.create_subscription
        subscribe(JointState, 'joint_states', self.joints.append, EVENTS)
        subscribe(Clock, '/clock', lambda message: self.clocks.append(stamp_of(message.clock)), EVENTS)
        subscribe(TaskOutcomes, 'true_outcomes', self.truth.append, EVENTS)
        for name, images in self.images.items():
            subscribe(Image, f'camera/{name}/image', images.append, IMAGES)
        self.arm = self.node.create_publisher(JointTrajectory, 'joint_trajectory_controller/joint_trajectory', COMMANDS)
        self.gripper = self.node.create_publisher(
            JointTrajectory, 'gripper_trajectory_controller/joint_trajectory', COMMANDS
        )
        self.episode = self.node.create_publisher(EpisodeInfo, 'episode', EVENTS)
        self.client = self.node.create_client(ResetCell, 'simulator/reset')
        assert self.client.wait_for_service(20)
        assert self.until(lambda: self.arm.get_subscription_count() and self.gripper.get_subscription_count())

    def until(self, condition, seconds: float = 10.0) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            rclpy.spin_once(self.node, timeout_sec=0.02)
        return False

    def reset(self, **request) -> ResetCell.Response:
        future = self.client.call_async(ResetCell.Request(**request))
        assert self.until(future.done)
        return future.result()

    def shown(self, stamp: int) -> bool:
        """Whether joint state, clock, truth and every image of a stamp have come."""
        return self.until(
            lambda: (
                stamp in self.clocks
                and all(
                    any(stamp_of(message.header.stamp) == stamp for message in messages)
                    for messages in (self.joints, self.truth, *self.images.values())
                )
            )
        )

    def command(
        self, offset: float, duration: float = 0.5, gripper_first: bool = True, finger: float = CELL.arm.finger_open
    ) -> None:
        """Turn the first joint, open or close the gripper."""
        target = np.array(self.joints[-1].position[:7])
        target[0] += offset
        arm = trajectory_to_message(Trajectory.at_rest([duration], target[None]), self.joints[-1].name[:7])
        fingers = Trajectory.at_rest([duration], np.array([[finger]]))
        gripper = trajectory_to_message(fingers, [CELL.arm.finger_joint])
        first, second = ((self.gripper, gripper), (self.arm, arm))[:: 1 if gripper_first else -1]
        first[0].publish(first[1])
        second[0].publish(second[1])

    def close(self) -> str:
        self.node.destroy_node()
        rclpy.try_shutdown()
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return errors


@pytest.fixture
def robot():
    robot = Robot()
    yield robot
    robot.close()


@pytest.mark.parametrize('gripper_first', [True, False])
def test_a_step_moves_exactly_its_length_and_shows_everything_once(robot, gripper_first):
    stamp = stamp_of(robot.reset(seed=3, skill='lift').stamp)
    assert robot.shown(stamp)
    before = robot.joints[-1].position[0]
    counts = {name: len(images) for name, images in robot.images.items()}
    robot.command(0.1, gripper_first=gripper_first)
    assert robot.shown(stamp + SECOND // 2)
    assert robot.joints[-1].position[0] - before == pytest.approx(0.1, abs=2e-3)
    assert not robot.until(lambda: any(len(robot.images[name]) > counts[name] + 1 for name in CAMERAS), 0.5)


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

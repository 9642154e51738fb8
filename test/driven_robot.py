"""Drives a simulator's node as the nodes above it do, over real DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL
from mtopt_core.environment import free_domain
from mtopt_core.messages import stamp_of
from mtopt_core.trajectory import Trajectory
from mtopt_msgs.msg import EpisodeInfo, TaskOutcomes
from mtopt_msgs.srv import ResetCell
from mtopt_node.calls import found
from mtopt_node.conversions import trajectory_to_message
from mtopt_node.qos import COMMANDS, EVENTS, IMAGES

STEP = 500_000_000


class Robot:
    """A simulator's node in a process of its own, and a client of it.

    Args:
        parameters: Of the node, `name:=value`.
        patience: s of wall time that everything may take.
    """

    def __init__(self, *parameters: str, patience: float = 20.0) -> None:
        domain = free_domain()
        self._patience = patience
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
        try:
            assert found(self.client.wait_for_service, patience)
            assert self.until(lambda: self.arm.get_subscription_count() and self.gripper.get_subscription_count())
        except BaseException:
            self.close()  # else the tests that come would find ROS in use
            raise

    def until(self, condition, seconds: float | None = None) -> bool:
        deadline = time.monotonic() + (seconds or self._patience)
        while time.monotonic() < deadline:
            if condition():
                return True
            rclpy.spin_once(self.node, timeout_sec=0.02)
        return False

    def reset(self, **request) -> ResetCell.Response:
        future = self.client.call_async(ResetCell.Request(**request))
        assert self.until(future.done)
        return future.result()

    def change(self, transition: int) -> None:
        """Carry out a lifecycle transition."""
        client = self.node.create_client(ChangeState, 'simulator/change_state')
        assert found(client.wait_for_service, self._patience)
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        assert self.until(future.done)
        assert future.result().success

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

    def step_that_shows_everything_once(self, offset: float, gripper_first: bool) -> float:
        """Carry out one step from a new scene; return how far the first joint has turned at its end."""
        stamp = stamp_of(self.reset(seed=3, skill='lift').stamp)
        assert self.shown(stamp)
        before = self.joints[-1].position[0]
        counts = {name: len(images) for name, images in self.images.items()}
        self.command(offset, gripper_first=gripper_first)
        assert self.shown(stamp + STEP)
        assert not self.until(lambda: any(len(self.images[name]) > counts[name] + 1 for name in CAMERAS), 0.5)
        return self.joints[-1].position[0] - before

    def close(self) -> str:
        self.node.destroy_node()
        rclpy.try_shutdown()
        self.process.send_signal(signal.SIGINT)
        try:
            _, errors = self.process.communicate(timeout=20)
        finally:
            self.process.kill()
        assert self.process.returncode == 0
        return errors

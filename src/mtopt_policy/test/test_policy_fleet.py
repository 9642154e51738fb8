"""One policy node for several robots, in this process; test_policy_node has its own ROS context for all its tests."""

import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from saved_policy import save_policy

from mtopt_core.environment import free_domain
from mtopt_core.episode import Observation
from mtopt_policy.policy_node import PolicyNode


@pytest.fixture
def fleet(tmp_path):
    """A policy node for two robots in this process, of which the second may take smaller steps."""
    small = tmp_path / 'small.yaml'
    small.write_text('step: {max_displacement: 0.02, max_yaw_change: 0.1}')

    def make(*cell_files):
        rclpy.init(
            args=[
                *('--ros-args', '-p', 'robots:=[a, b]', '-p', f'cell_files:={list(cell_files)}'),
                *('-p', f'checkpoints:={tmp_path}'),
            ],
            domain_id=free_domain(),
        )
        nodes.append(PolicyNode())
        return nodes[-1]

    nodes: list[PolicyNode] = []
    yield make, str(small)
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def test_each_robot_of_a_fleet_has_its_own_steps(fleet, tmp_path):
    make, small = fleet
    save_policy(tmp_path, 'v1')
    node = make('', small)
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    largest = {}
    for control in node._controls:
        step = control._place.cell.step
        policy = node.policy_for('scripted', 0.0, step)
        seen = Observation(0, {}, np.zeros(7), np.array([0.5, -0.17, 0.4]), 0.0, False, 0.08, 0.4)
        displacements = []
        for seed in range(5):
            policy.begin('lift-any', seed)
            displacements.append(np.abs(policy.act(seen).displacement).max())
        largest[control._place.prefix] = max(displacements)
    assert largest['/b/'] <= 0.02 < largest['/a/']
    # The checkpoint's steps are the first robot's; the second is told that it cannot take them.
    assert 'max_displacement of 0.1, b allows 0.02' in node._message
    assert ', a allows' not in node._message


def test_cell_files_that_are_not_one_for_each_robot_are_refused(fleet):
    make, small = fleet
    node = make(small, small, small)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert '3 cell_files for 2 robots' in node._message

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from mtopt_collector.arm_controller_node import ArmControllerNode
from mtopt_collector.camera_ingestion_node import CameraIngestionNode
from mtopt_collector.collector_node import CollectorNode
from mtopt_collector.recorder_node import RecorderNode
from mtopt_collector.reset_node import ResetNode
from mtopt_core.environment import free_domain, prepare
from mtopt_core.errors import ConfigurationError

NODES = (CameraIngestionNode, ArmControllerNode, RecorderNode, ResetNode, CollectorNode)


@pytest.fixture
def start(tmp_path):
    prepare()
    nodes = []

    def make(kind, *arguments):
        rclpy.init(args=['--ros-args', '-p', f'data_folder:={tmp_path}', *arguments], domain_id=free_domain())
        nodes.append(kind())
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize('kind', NODES)
def test_a_node_can_be_cleaned_up_and_configured_again(start, kind):
    node = start(kind, '-r', '__ns:=/robot1')
    bare = len(node._entities())
    sizes = []
    for _ in range(2):
        for transition in (node.trigger_configure, node.trigger_activate):
            assert transition() == TransitionCallbackReturn.SUCCESS
        sizes.append(len(node._entities()))
        for transition in (node.trigger_deactivate, node.trigger_cleanup):
            assert transition() == TransitionCallbackReturn.SUCCESS
        assert len(node._entities()) == bare
    assert sizes[0] == sizes[1] > bare


def test_an_arm_controller_that_is_shut_down_is_not_active_any_more(start):
    node = start(ArmControllerNode, '-r', '__ns:=/robot1')
    transitions = (node.trigger_configure, node.trigger_activate, node.trigger_shutdown)
    assert {transition() for transition in transitions} == {TransitionCallbackReturn.SUCCESS}
    assert not node.active


def test_a_collector_that_is_activated_again_at_once_collects_in_one_thread(start):
    node = start(CollectorNode, '-r', '__ns:=/robot1', '-p', 'episodes:=-1')
    transitions = (node.trigger_configure, node.trigger_activate, node.trigger_deactivate, node.trigger_activate)
    assert {transition() for transition in transitions} == {TransitionCallbackReturn.SUCCESS}
    time.sleep(0.5)
    assert [thread.name for thread in threading.enumerate()].count('collection') == 1
    for transition in (node.trigger_deactivate, node.trigger_cleanup):
        assert transition() == TransitionCallbackReturn.SUCCESS


@pytest.mark.parametrize('kind', NODES)
def test_a_node_without_its_robots_namespace_says_so(start, kind):
    with pytest.raises(ConfigurationError, match='needs the namespace of its robot'):
        start(kind)


def test_nodes_start_without_torch_which_takes_seconds_and_memory():
    imports = '; '.join(f'import {kind.__module__}' for kind in NODES)
    check = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', check], check=False).returncode == 0


@pytest.mark.parametrize('kind', NODES)
def test_every_parameter_is_described(start, kind):
    node = start(kind, '-r', '__ns:=/robot1')
    for parameter in kind.PARAMETERS:
        assert node.describe_parameter(parameter.name).description

"""The trainer node in a process of its own, over real DDS."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from mtopt_core.checkpoint import load_checkpoint
from mtopt_core.environment import free_domain, variables
from mtopt_msgs.msg import ModelVersion
from mtopt_node.qos import COMMANDS, LATCHED
from mtopt_policy.manifest import PolicyManifest


class Listener:
    """Hears what a trainer says."""

    def __init__(self, context):
        self.node = rclpy.create_node('listener', context=context)
        self.versions, self.messages = [], []
        self.node.create_subscription(ModelVersion, '/policy/model_version', self.versions.append, LATCHED)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, COMMANDS)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)

    def _diagnosed(self, array):
        self.messages += [status.message for status in array.status if status.name == '/trainer']

    def wait_for(self, condition, seconds=25):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f'heard only {len(self.versions)} versions and {set(self.messages)}'
            self._executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def environment(monkeypatch):
    for name, value in (variables() | {'ROS_DOMAIN_ID': str(free_domain()), 'OMP_NUM_THREADS': '1'}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def listener(environment):
    context = rclpy.Context()
    rclpy.init(context=context)
    listener = Listener(context)
    yield listener
    listener.node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_trainer_waits_for_data_then_announces_policies_and_exports_once_more_when_stopped(
    listener, record, tmp_path
):
    data, out = tmp_path / 'data', tmp_path / 'out'
    out.mkdir()
    arguments = {'bags': data, 'out': out, 'outcomes': '[simulator]', 'changes': '[batch=8, export_seconds=1.0]'}
    parameters = [part for name, value in arguments.items() for part in ('-p', f'{name}:={value}')]
    command = [sys.executable, '-m', 'mtopt_policy.trainer_node', '--ros-args', *parameters]
    trainer = subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True)
    try:
        listener.wait_for(lambda: any(message.startswith('waiting: ') for message in listener.messages))
        # What ends a training may pass: here that another one has the folder.
        with (out / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record(10)
            listener.wait_for(lambda: any('another training runs' in message for message in listener.messages))
            assert not listener.versions
        listener.wait_for(lambda: len(listener.versions) >= 2)
        announced = listener.versions[-1]
        _, manifest = load_checkpoint(out / 'policy' / announced.version, PolicyManifest)
        assert announced.path == str(out / 'policy' / announced.version)
        assert announced.sha256 == manifest.sha256
        assert tuple(announced.tasks) == manifest.tasks
        trainer.send_signal(signal.SIGINT)
        _, complaints = trainer.communicate(timeout=15)
        assert trainer.returncode == 0
        assert 'Traceback' not in complaints
        assert max(path.name for path in (out / 'policy').iterdir()) > announced.version
    finally:
        trainer.kill()
        trainer.wait()

"""The launcher with real nodes: it names the dead, stops the living, and takes none with it into nowhere."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtopt_bringup.graph import NodeSpec
from mtopt_bringup.launcher import Launcher, NodeDiedError
from mtopt_core.environment import free_domain
from mtopt_core.errors import ConfigurationError

START_TIMEOUT = 20.0


@pytest.fixture
def environment():
    return {**os.environ, 'ROS_DOMAIN_ID': str(free_domain())}


def recorder(data, namespace='/robot1', **parameters):
    parameters = {'data_folder': str(data), **parameters}
    return NodeSpec('mtopt_collector', 'recorder_node', 'recorder', namespace, parameters)


def wait_until(condition):
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_dead_node_is_named_with_its_log_and_its_last_words(tmp_path, environment):
    spec = recorder(tmp_path, cell_file=str(tmp_path / 'missing.yaml'))
    with Launcher([spec], tmp_path / 'log', environment) as launcher:
        wait_until(lambda: launcher.nodes[0].process.poll() is not None)
        with pytest.raises(NodeDiedError) as error:
            launcher.check()
    assert '/robot1/recorder' in str(error.value)
    assert str(tmp_path / 'log' / 'robot1.recorder.log') in str(error.value)
    assert 'missing.yaml' in str(error.value)


def test_nodes_stop_when_asked_and_nothing_has_to_be_killed(tmp_path, environment):
    specs = [recorder(tmp_path, namespace) for namespace in ('/robot1', '/robot2')]
    with Launcher(specs, tmp_path / 'log', environment) as launcher:
        wait_until(lambda: all('idle' in node.log.read_text() for node in launcher.nodes))
        launcher.check()
        assert launcher.stop() == ()
    assert [node.process.returncode for node in launcher.nodes] == [0, 0]


def test_the_log_of_a_node_that_hangs_tells_where(tmp_path, environment):
    with Launcher([recorder(tmp_path)], tmp_path / 'log', environment) as launcher:
        (node,) = launcher.nodes
        wait_until(lambda: 'idle' in node.log.read_text())
        launcher.kill(node)
    log = node.log.read_text()
    assert 'Current thread' in log
    assert 'spin' in log


def test_what_a_node_printed_in_the_run_before_is_kept(tmp_path, environment):
    for words in ('one.yaml', 'two.yaml'):
        with Launcher([recorder(tmp_path, cell_file=str(tmp_path / words))], tmp_path / 'log', environment) as launcher:
            wait_until(lambda launcher=launcher: launcher.nodes[0].process.poll() is not None)
    assert 'two.yaml' in (tmp_path / 'log' / 'robot1.recorder.log').read_text()
    assert 'one.yaml' in (tmp_path / 'log' / 'robot1.recorder.log.1').read_text()


@pytest.mark.parametrize('place', ['file', 'file/deeper'])
def test_a_data_folder_that_cannot_be_is_named(tmp_path, environment, place):
    (tmp_path / 'file').touch()
    logs = tmp_path / place / 'log'
    with pytest.raises(ConfigurationError, match=str(logs)), Launcher([recorder(tmp_path)], logs, environment):
        pytest.fail('nodes were started')


def test_nodes_do_not_outlive_a_launcher_that_is_killed(tmp_path, environment):
    program = f"""
import sys, time
sys.path[:0] = {sys.path!r}
import os
from pathlib import Path
from mtopt_bringup.graph import NodeSpec
from mtopt_bringup.launcher import Launcher
spec = NodeSpec('mtopt_collector', 'recorder_node', 'recorder', '/robot1', {{'data_folder': {str(tmp_path)!r}}})
with Launcher([spec], Path({str(tmp_path / 'log')!r}), os.environ) as launcher:
    print(launcher.nodes[0].process.pid, flush=True)
    time.sleep(60)
"""
    killed = subprocess.Popen([sys.executable, '-c', program], env=environment, stdout=subprocess.PIPE, text=True)
    node = int(killed.stdout.readline())
    log = tmp_path / 'log' / 'robot1.recorder.log'
    wait_until(lambda: log.exists() and 'idle' in log.read_text())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not is_alive(node))


def is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False

"""What is said when Gazebo is not as it should be, and that the cell goes on afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from own_servers import servers

from mtopt_core.description.cell_table import CELL, RIGHT_BIN
from mtopt_core.trajectory import Trajectory
from mtopt_sim.errors import DivergedError, SimulationError
from mtopt_sim.gazebo import classic_transport
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.installation import ROOT_ENVIRONMENT_VARIABLE
from mtopt_sim.gazebo.joint_commands import Gain
from mtopt_sim.gazebo.simulation import Simulation
from mtopt_sim.gazebo.world import world_file, world_files
from mtopt_sim.simulators import IMAGE_PERIOD


def test_a_server_that_is_killed_in_mid_step_is_named_and_the_next_scene_has_another(gazebo):
    gazebo.reset(3, RIGHT_BIN)
    stamp = gazebo.stamp
    target = gazebo.joint_positions[None] + 0.1
    motion = gazebo.motion(Trajectory.at_rest([2.0], target), Trajectory.at_rest([2.0], np.array([[0.04]])))
    next(motion)
    for pid in servers():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(TransportError, match=r'server (ended with status -9|closed|takes no)'):
        list(motion)
    with pytest.raises(SimulationError, match='reset the cell'):
        gazebo.joint_positions.any()
    gazebo.reset(3, RIGHT_BIN)
    assert gazebo.stamp > stamp + 500_000_000
    assert gazebo.render('main').std() > 10


def test_an_arm_whose_physics_diverge_is_named_and_the_next_scene_has_another(gazebo):
    gazebo.reset(3, RIGHT_BIN)
    hold = Trajectory.at_rest([0.5], gazebo.joint_positions[None]), Trajectory.at_rest([0.5], np.array([[0.04]]))
    gazebo._plant._running.command({'joint2': 0.0}, {'joint2': Gain(np.nan)})
    with pytest.raises(DivergedError, match='diverged'):
        gazebo.run(*hold)
    gazebo.reset(3, RIGHT_BIN)
    gazebo.run(*hold)
    assert gazebo.joint_positions == pytest.approx(hold[0].positions[-1], abs=0.01)


def test_servers_end_with_what_started_them():
    before = servers()
    simulation = Simulation(CELL, 32, ('main',), IMAGE_PERIOD)
    assert len(servers() - before) == 1
    simulation.close()
    assert servers() == before


def test_a_killed_process_leaves_no_server_and_nothing_in_the_temporary_folder(tmp_path):
    code = (
        'from mtopt_sim.simulators import new_cell; cell = new_cell("gazebo", 32); print("runs", flush=True); input()'
    )
    before = servers()
    with subprocess.Popen(
        [sys.executable, '-c', code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, 'TMPDIR': str(tmp_path)},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == 'runs\n'
        (server,) = servers() - before
        process.kill()
    deadline = time.monotonic() + 20.0
    while Path(f'/proc/{server}').exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f'/proc/{server}').exists()
    assert not list(tmp_path.iterdir())


def test_two_servers_do_not_hear_each_other(gazebo):
    gazebo.reset(3)
    other = Simulation(CELL, 32, (), IMAGE_PERIOD)
    try:
        still = gazebo.joint_positions
        other.command({'joint1': 0.5})
        other.step(200)
        hold = Trajectory.at_rest([0.5], still[None])
        gazebo.run(hold, Trajectory.at_rest([0.5], np.array([[CELL.arm.finger_open]])))
        assert gazebo.joint_positions == pytest.approx(still, abs=1e-3)
    finally:
        other.close()


def test_cameras_without_a_display_are_named():
    with pytest.raises(TransportError, match=r'cameras are off.*main, wrist are dark'):
        Simulation(CELL, 32, ('main', 'wrist'), IMAGE_PERIOD, display=False)


def test_a_world_without_the_arm_is_named():
    files = world_files(CELL, 32, IMAGE_PERIOD)
    text = files[world_file(CELL)]
    start = text.index('<include>')
    files[world_file(CELL)] = text[:start] + text[text.index('</include>', start) + len('</include>') :]
    with pytest.raises(TransportError, match="no model 'arm' with joints"):
        Simulation(CELL, 32, (), IMAGE_PERIOD, files)


def test_another_world_is_named():
    files = world_files(CELL, 32, IMAGE_PERIOD)
    files[world_file(CELL)] = files[world_file(CELL)].replace('<world name="two_bins">', '<world name="kitchen">')
    with pytest.raises(TransportError, match=r"world 'two_bins', but .*kitchen"):
        Simulation(CELL, 32, (), IMAGE_PERIOD, files)


def test_a_missing_gazebo_is_named_with_the_command_that_prepares_it(tmp_path, monkeypatch):
    monkeypatch.setenv(ROOT_ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(SimulationError, match='make gazebo-root'):
        Simulation(CELL, 32, (), IMAGE_PERIOD)


def test_a_machine_that_allows_no_namespaces_is_named_with_the_way_out(tmp_path, monkeypatch):
    refusing = tmp_path / 'unshare'
    refusing.write_text('#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2; exit 1\n')
    refusing.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    with pytest.raises(TransportError, match=r'Operation not permitted\. The server needs a network.*run as root'):
        Simulation(CELL, 32, (), IMAGE_PERIOD)


def test_a_user_who_is_not_root_runs_a_server_too():
    code = 'import os; from mtopt_sim.simulators import new_cell; assert os.geteuid() == 1000; '
    code += "cell = new_cell('gazebo', 32); assert cell.render('main').std() > 10; cell.close()"
    command = ['unshare', '--user', '--map-user=1000', '--map-group=1000', sys.executable, '-c', code]
    subprocess.run(command, check=True, timeout=120)


def test_a_server_of_another_version_is_named(monkeypatch):
    monkeypatch.setattr(classic_transport, 'VERSION', 'gazebo 12')
    with pytest.raises(TransportError, match=r"the server is 'gazebo 11.*speaks with gazebo 12 only"):
        Simulation(CELL, 32, (), IMAGE_PERIOD)


def test_an_unknown_joint_or_camera_is_named(gazebo):
    gazebo.reset(3)
    with pytest.raises(SimulationError, match=r"no joint 'elbow'; known: joint1"):
        gazebo._plant._running.command({'elbow': 0.0})
    with pytest.raises(SimulationError, match=r"camera 'ceiling' is not listened to; known: main"):
        gazebo.render('ceiling')

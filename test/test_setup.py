"""`make setup` says at once what is missing, mends the wheels' paths, and does nothing twice."""

import os
import shutil
import subprocess
import sys
import sysconfig

import bootstrap
import mend_wheels
import numpy
import pytest
from sources import ROOT


def run_bootstrap(root, **environment):
    command = [sys.executable, str(root / 'tools' / 'bootstrap.py')]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture
def fresh_checkout(tmp_path):
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    return tmp_path


def test_missing_system_packages_are_named_with_the_command_that_installs_them(fresh_checkout):
    result = run_bootstrap(fresh_checkout, PATH=str(fresh_checkout))  # hides compiler, cmake and apt-get alike
    assert result.returncode == 1
    assert 'sudo apt-get install --yes --no-install-recommends g++ cmake' in result.stderr
    assert 'Traceback' not in result.stderr


def test_another_ros_distribution_is_refused(fresh_checkout):
    result = run_bootstrap(fresh_checkout, ROS_DISTRO='humble')
    assert result.returncode == 1
    assert 'ROS 2 humble is sourced; mtopt needs jazzy' in result.stderr


@pytest.mark.skipif(not (bootstrap.BUILD / '.sources').exists(), reason='this checkout was not set up by make')
def test_a_second_set_up_does_nothing():
    result = run_bootstrap(ROOT)
    assert (result.returncode, result.stdout) == (0, ''), result.stderr


def test_a_stage_runs_again_when_a_file_it_depends_on_changes(tmp_path):
    stamp, requirements = tmp_path / 'stamp', tmp_path / 'requirements.txt'
    requirements.write_text('numpy==1')
    assert not bootstrap.holds(stamp, bootstrap.digest([requirements]))
    stamp.write_text(bootstrap.digest([requirements]))
    assert bootstrap.holds(stamp, bootstrap.digest([requirements]))
    requirements.write_text('numpy==2')
    assert not bootstrap.holds(stamp, bootstrap.digest([requirements]))


def test_paths_of_the_machine_the_wheels_were_built_on_are_replaced(tmp_path):
    numpy_headers = '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include'
    stale = tmp_path / 'share' / 'export.cmake'
    stale.parent.mkdir()
    stale.write_text(
        f'set(headers "${{_IMPORT_PREFIX}}/include;/opt/python/cp312-cp312/include/python3.12;{numpy_headers}")'
    )
    assert mend_wheels.mend(tmp_path) == []
    headers = f'{sysconfig.get_path("include")};{numpy.get_include()}'
    assert stale.read_text() == f'set(headers "${{_IMPORT_PREFIX}}/include;{headers}")'


def test_a_stale_path_of_an_unknown_kind_is_told(tmp_path):
    stale = tmp_path / 'other.cmake'
    stale.write_text('set(library /opt/python/cp312-cp312/lib/libpython3.so)')
    assert mend_wheels.mend(tmp_path) == [stale]

"""Every package is a proper ROS 2 package: `colcon build` and `ros2 run` find what they look for."""

import configparser
import subprocess
import sys
from importlib import metadata

import pytest
from catkin_pkg.package import parse_package
from sources import PYTHON_PACKAGES, ROOT

PACKAGES = (*PYTHON_PACKAGES, 'mtopt_msgs')


@pytest.mark.parametrize('name', PACKAGES)
def test_package_xml_is_valid_format_3(name):
    package = parse_package(ROOT / 'src' / name / 'package.xml')
    package.validate()
    assert package.package_format == 3
    assert package.name == name
    assert package.licenses == ['Apache-2.0']
    build_type = 'ament_cmake' if name == 'mtopt_msgs' else 'ament_python'
    assert [export.content for export in package.exports if export.tagname == 'build_type'] == [build_type]


def test_all_packages_have_one_version():
    assert len({parse_package(ROOT / 'src' / name / 'package.xml').version for name in PACKAGES}) == 1


@pytest.mark.parametrize('name', PYTHON_PACKAGES)
def test_setup_py_tells_what_package_xml_tells(name):
    command = [sys.executable, 'setup.py', '--name', '--version', '--description', '--license']
    result = subprocess.run(command, cwd=ROOT / 'src' / name, capture_output=True, text=True, check=True)
    package = parse_package(ROOT / 'src' / name / 'package.xml')
    told = [package.name, package.version, package.description, *package.licenses]
    assert result.stdout.splitlines()[-len(told) :] == told


@pytest.mark.parametrize('name', PYTHON_PACKAGES)
def test_ament_finds_the_package_and_its_programs(name):
    folder = ROOT / 'src' / name
    assert (folder / 'resource' / name).exists()
    configuration = configparser.ConfigParser()
    configuration.read(folder / 'setup.cfg')
    assert configuration['develop']['script_dir'] == f'$base/lib/{name}'
    assert configuration['install']['install_scripts'] == f'$base/lib/{name}'


@pytest.mark.parametrize('group', ['console_scripts', 'mtopt.commands'])
def test_every_entry_point_leads_to_something_callable(group):
    ours = [point for point in metadata.entry_points(group=group) if point.value.startswith('mtopt_')]
    assert ours
    for point in ours:
        assert callable(point.load()), point


def test_the_shipped_files_are_installed():
    share = ROOT / 'install' / 'mtopt_core' / 'share' / 'mtopt_core'
    for path in (ROOT / 'config').rglob('*'):
        assert (share / path.relative_to(ROOT)).exists(), path

"""Bring a checkout to the point where everything runs: `make setup`, and first thing in every other target.

Makes `.venv`, installs the pinned requirements, builds all packages into `install/` with colcon, and writes
`.venv/bin/mtopt`. Each stage leaves a stamp, the digest of what it depends on, and is skipped while that holds. Needs
nothing but Python's standard library, and installs nothing outside the checkout but missing Debian packages, as root.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from debian_packages import MissingPackagesError, ensure_packages

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
BUILD = ROOT / 'build'
INSTALL = ROOT / 'install'
PYTHON = VENV / 'bin' / 'python'
COMMAND = VENV / 'bin' / 'mtopt'
PYTHON_VERSIONS = ((3, 11), (3, 12))
ROS_DISTRO = 'jazzy'

# Files whose content a build turns into something else. All others are linked: editing them needs no build, but adding
# or removing one of the linked data files does.
BUILT = ('package.xml', 'setup.py', 'setup.cfg', 'CMakeLists.txt', '*.msg', '*.srv', '*.action')
LINKED_FOLDERS = ('config', 'launch', 'models')

COMMAND_TEXT = """#!/bin/bash
# Written by tools/bootstrap.py: mtopt from any shell, nothing sourced first.
source {environment}
exec {executable} "$@"
"""


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


def ros_is_sourced() -> bool:
    """Return whether a ROS 2 Jazzy installation is sourced; it is then used instead of the wheels.

    Raises:
        SetupError: Another distribution is sourced, whose libraries would get in the way of either.
    """
    distribution = os.environ.get('ROS_DISTRO', '')
    if distribution in ('', ROS_DISTRO):
        return bool(distribution)
    raise SetupError(
        f'ROS 2 {distribution} is sourced; mtopt needs {ROS_DISTRO}, or a shell in which no ROS is sourced.'
    )


def digest(parts: Iterable[str | Path]) -> str:
    """Return a digest of strings and of files' names and contents."""
    result = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else b''
        result.update(json.dumps([str(part), hashlib.sha256(content).hexdigest()]).encode())
    return result.hexdigest()


def holds(stamp: Path, value: str) -> bool:
    """Return whether the stage that writes this stamp has been through with the same inputs."""
    return stamp.exists() and stamp.read_text() == value


def run(*command: str | Path, **environment: str) -> None:
    """Run a command in the checkout.

    Raises:
        subprocess.CalledProcessError: It failed; its output says why.
    """
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env={**os.environ, **environment})


def forget_workspaces() -> None:
    """Leave out of the environment what a workspace sourced in this shell put there, also this one.

    Without a sourced ROS only the virtual environment counts; another checkout's messages would be built against.
    """
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'LD_LIBRARY_PATH', 'PYTHONPATH'):
        os.environ.pop(name, None)
    os.environ.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)


def make_environment(with_ros: bool) -> str:
    """Make the virtual environment and install the requirements; return the digest of both."""
    interpreter = digest([str(ROOT), f'{sys.version_info[0]}.{sys.version_info[1]}', str(with_ros)])
    stamp = VENV / '.interpreter'
    if not (holds(stamp, interpreter) and PYTHON.exists()):
        print(f'Making {VENV}', flush=True)
        for folder in (BUILD, INSTALL):  # CMake's cache names the interpreter before
            shutil.rmtree(folder, ignore_errors=True)
        # Resolved, because in an activated shell python3 is the very one that is cleared.
        command = (Path(sys.executable).resolve(), '-m', 'venv', '--clear', VENV)
        # A sourced ROS takes its Python dependencies from the system's packages.
        run(*command, *(('--system-site-packages',) if with_ros else ()))
        stamp.write_text(interpreter)

    folder = ROOT / 'requirements'
    ros = 'sourced_ros.txt' if with_ros else 'ros_wheels.txt'
    files = [folder / name for name in ('base.txt', ros, 'development.txt')]
    constraints = folder / 'constraints.txt'
    mender = ROOT / 'tools' / 'mend_wheels.py'
    requirements = digest([interpreter, *files, constraints, mender])
    stamp = VENV / '.requirements'
    if not holds(stamp, requirements):
        print('Installing Python packages (a minute or two, longer on a slow line)', flush=True)
        named = [part for file in files for part in ('--requirement', file)]
        pip = (PYTHON, '-m', 'pip', 'install', '-qq', '--disable-pip-version-check')
        run(*pip, *named, '--constraint', constraints)
        if not with_ros:
            run(PYTHON, mender)
        stamp.write_text(requirements)
    return requirements


def build(with_ros: bool, requirements: str) -> None:
    """Build all packages with colcon when something of what it turns into something else has changed."""
    sources = sorted(path for pattern in BUILT for path in (ROOT / 'src').rglob(pattern))
    linked = sorted(str(path) for name in LINKED_FOLDERS for path in (ROOT / name).rglob('*'))
    value = digest([requirements, Path(__file__), *sources, *linked])
    stamp = BUILD / '.sources'
    if holds(stamp, value) and INSTALL.exists():
        return
    print('Building the packages with colcon', flush=True)
    prefixes = {} if with_ros else {'AMENT_PREFIX_PATH': str(VENV), 'CMAKE_PREFIX_PATH': str(VENV)}
    run(
        *(VENV / 'bin' / 'colcon', '--log-level', 'error', 'build', '--symlink-install', '--base-paths', ROOT / 'src'),
        # -O0 halves the time the generated code takes to compile. The linters of BUILD_TESTING are not in the wheels.
        *('--cmake-args', '-G', 'Ninja', '-DBUILD_TESTING=OFF', '-DCMAKE_C_FLAGS=-O0', '-DCMAKE_CXX_FLAGS=-O0'),
        VIRTUAL_ENV=str(VENV),
        PATH=f'{VENV / "bin"}{os.pathsep}{os.environ["PATH"]}',
        # Otherwise colcon adds `-l <cores>`, with which two cores compile one file at a time.
        MAKEFLAGS=f'-j{os.cpu_count()}',
        **prefixes,
    )
    stamp.write_text(value)


def write_command() -> None:
    """Write `.venv/bin/mtopt`, which finds the built messages without anything being sourced."""
    executable = INSTALL / 'mtopt_core' / 'lib' / 'mtopt_core' / 'mtopt'
    paths = {'environment': ROOT / 'environment.sh', 'executable': executable}
    text = COMMAND_TEXT.format(**{name: shlex.quote(str(path)) for name, path in paths.items()})
    if not (COMMAND.exists() and COMMAND.read_text() == text):
        COMMAND.write_text(text)
        COMMAND.chmod(0o755)


def main() -> None:
    """Go through all stages.

    Raises:
        SetupError: This Python or the sourced ROS cannot be used.
        MissingPackagesError: System packages are missing.
        subprocess.CalledProcessError: A stage failed.
    """
    if sys.version_info[:2] not in PYTHON_VERSIONS:
        known = ' or '.join('.'.join(map(str, version)) for version in PYTHON_VERSIONS)
        raise SetupError(f'this is Python {sys.version.split()[0]}, mtopt needs {known}: make PYTHON=python3.12')
    with_ros = ros_is_sourced()
    if not with_ros:
        forget_workspaces()
    ensure_packages()
    build(with_ros, make_environment(with_ros))
    write_command()


if __name__ == '__main__':
    try:
        main()
    except (SetupError, MissingPackagesError) as error:
        sys.exit(f'make setup: {error}')
    except subprocess.CalledProcessError as error:
        sys.exit(f'make setup: {error.cmd[0]} failed with exit code {error.returncode}; see above')

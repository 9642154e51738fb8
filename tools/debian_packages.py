"""What the build and the renderer need from the system, found by what it provides rather than by its name.

Probing files and libraries instead of the package database also suits containers whose Python or compiler did not come
from Debian, and other distributions.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path


class MissingPackagesError(Exception):
    """System packages are missing and this user may not install them; the message has the command."""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_python_headers() -> bool:
    return Path(sysconfig.get_path('include'), 'Python.h').exists()


def _has_render_driver() -> bool:
    folders = (Path('/usr/lib'), Path('/usr/lib64'))
    return any(any(folder.glob(pattern)) for folder in folders for pattern in ('dri/*_dri.so', '*/dri/*_dri.so'))


PROBES: dict[str, Callable[[], bool]] = {
    'python3-venv': lambda: importlib.util.find_spec('ensurepip') is not None,
    'python3-dev': _has_python_headers,
    'g++': lambda: shutil.which('g++') is not None,
    'cmake': lambda: shutil.which('cmake') is not None,
    'libegl1': lambda: _loads('libEGL.so.1'),
    'libopengl0': lambda: _loads('libOpenGL.so.0'),
    'libgl1-mesa-dri': _has_render_driver,
}


def missing_packages(probes: Mapping[str, Callable[[], bool]] = PROBES) -> list[str]:
    """Return the Debian names of what is not there."""
    return [name for name, is_there in probes.items() if not is_there()]


def ensure_packages() -> None:
    """Install what the build and the renderer lack; `ensure` says how."""
    ensure(PROBES, 'make')


def ensure(probes: Mapping[str, Callable[[], bool]], command: str) -> None:
    """Install what is missing when running as root on Debian or Ubuntu.

    Args:
        probes: Whether what a package provides is there, by the package's name.
        command: What to run again afterwards.

    Raises:
        MissingPackagesError: Something is missing and cannot be installed by this user.
        subprocess.CalledProcessError: apt-get failed; it has said why.
    """
    missing = missing_packages(probes)
    if not missing:
        return
    install = ['apt-get', 'install', '--yes', '--no-install-recommends', *missing]
    if os.geteuid() != 0 or shutil.which('apt-get') is None:
        raise MissingPackagesError(
            f'these system packages are missing: {", ".join(missing)}. On Debian and Ubuntu install them with\n\n'
            f'    sudo apt-get update && sudo {" ".join(install)}\n\nand run {command} again.'
        )
    print(f'Installing Debian packages: {", ".join(missing)}', flush=True)
    environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    for step in (['apt-get', 'update', '--quiet=2'], [*install, '--quiet=2']):
        subprocess.run(step, check=True, env=environment, stdout=subprocess.DEVNULL)

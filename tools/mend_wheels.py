"""Rewrite the paths of the machine the ROS wheels were built on; run by the virtual environment's Python.

The wheels' CMake files name Python's and NumPy's headers below /opt/python, where only the wheels' builders have them.
Without this no message package can be built. Mended files are left as they are, so it may run any number of times.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

PYTHON_HEADERS = re.compile(r'/opt/python/cp\d+-cp\d+/include/python3\.\d+')
NUMPY_HEADERS = re.compile(r'/opt/python/[^;"\s]*/numpy/_core/include')


def mend(prefix: Path) -> list[Path]:
    """Mend every CMake file below a prefix.

    Returns:
        Files in which a path below /opt/python is left that this does not know.
    """
    left = []
    for path in prefix.rglob('*.cmake'):
        text = path.read_text(errors='surrogateescape')
        mended = NUMPY_HEADERS.sub(numpy.get_include(), text)
        mended = PYTHON_HEADERS.sub(sysconfig.get_path('include'), mended)
        if mended != text:
            path.write_text(mended, errors='surrogateescape')
        if '/opt/python/' in mended:
            left.append(path)
    return left


if __name__ == '__main__':
    if unknown := mend(Path(sys.prefix)):
        sys.exit(
            'cannot mend the CMake files of these ROS wheels, their paths have changed: ' + ', '.join(map(str, unknown))
        )

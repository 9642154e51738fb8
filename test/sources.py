"""What the tests of the repository's shape read: packages, their modules and what these import."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON_PACKAGES = tuple(sorted(path.parent.name for path in (ROOT / 'src').glob('*/setup.py')))
INTERFACE_SUFFIXES = ('_msgs', '_srvs', '_interfaces')
ROS_PACKAGES = {'rclpy', 'launch', 'launch_ros', 'ament_index_python', 'mtopt_node'}


@dataclass(frozen=True)
class Module:
    """One module's file and every module it imports, wherever in the file."""

    path: Path
    imports: frozenset[str]

    @property
    def packages(self) -> set[str]:
        """Top-level names of what is imported, without Python's own."""
        return {name.partition('.')[0] for name in self.imports} - set(sys.stdlib_module_names)


def is_ros(package: str) -> bool:
    """Return whether a top-level package needs a ROS installation."""
    return package in ROS_PACKAGES or package.endswith(INTERFACE_SUFFIXES)


def is_node(module: str) -> bool:
    """Return whether a module is a node by its name, or the launch file of some."""
    return module.endswith(('_node', '.launch'))


def read(path: Path) -> Module:
    """Parse a module; relative imports do not occur in this repository and are refused."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno}: relative import'
            assert node.module is not None
            names |= {node.module, *(f'{node.module}.{alias.name}' for alias in node.names)}
    return Module(path, frozenset(names))


def modules(package: str) -> list[Module]:
    """Return all modules and launch files of a package, tests not among them."""
    folder = ROOT / 'src' / package
    return [read(path) for path in sorted((*(folder / package).rglob('*.py'), *folder.glob('launch/*.py')))]


def modules_of_tests(package: str) -> list[Module]:
    """Return all modules of a package's tests."""
    return [read(path) for path in sorted((ROOT / 'src' / package / 'test').rglob('*.py'))]

"""Dependencies point one way, and ROS stays in the nodes (docs/architecture.md)."""

import re
from importlib import metadata
from xml.etree import ElementTree

import pytest
from sources import PYTHON_PACKAGES, ROOT, is_node, is_ros, modules, modules_of_tests

BELOW = {
    'mtopt_core': set(),
    'mtopt_node': {'mtopt_core'},
    'mtopt_policy': {'mtopt_core', 'mtopt_node'},
    'mtopt_success_detector': {'mtopt_core', 'mtopt_node'},
    'mtopt_sim': {'mtopt_core', 'mtopt_node'},
    'mtopt_web': {'mtopt_core', 'mtopt_node', 'mtopt_success_detector'},
    'mtopt_collector': {'mtopt_core', 'mtopt_node', 'mtopt_policy', 'mtopt_success_detector'},
}
BELOW['mtopt_bringup'] = {*BELOW}
DISTRIBUTIONS = metadata.packages_distributions()


def test_every_package_has_its_place():
    assert set(BELOW) == set(PYTHON_PACKAGES)


@pytest.mark.parametrize('package', PYTHON_PACKAGES)
def test_a_package_imports_only_packages_below_it(package):
    for module in modules(package):
        above = {name for name in module.packages if name in BELOW} - BELOW[package] - {package}
        assert not above, f'{module.path} imports {above}'


@pytest.mark.parametrize('package', sorted(set(PYTHON_PACKAGES) - {'mtopt_node'}))
def test_only_nodes_import_ros(package):
    for module in modules(package):
        if is_node(module.path.stem):
            continue
        ros = {name for name in module.packages if is_ros(name)}
        ros |= {name for name in module.imports if is_node(name) and name.startswith('mtopt_')}
        assert not ros, f'{module.path} imports {ros}; only *_node.py may'


def declared(package, *kinds):
    root = ElementTree.parse(ROOT / 'src' / package / 'package.xml').getroot()
    return {element.text for kind in kinds for element in root.iter(kind)}


def ros_packages(sources):
    return {name for module in sources for name in module.packages if is_ros(name) or name in BELOW}


@pytest.mark.parametrize('package', PYTHON_PACKAGES)
def test_package_xml_names_every_ros_package_that_is_imported(package):
    assert ros_packages(modules(package)) <= declared(package, 'exec_depend') | {package}
    assert ros_packages(modules_of_tests(package)) <= declared(package, 'exec_depend', 'test_depend') | {package}


@pytest.mark.parametrize('package', PYTHON_PACKAGES)
def test_package_xml_names_nothing_that_is_not_used(package):
    # Used is what is imported, but also what is started or read by name: nodes of the graph, folders of messages.
    text = '\n'.join(module.path.read_text() for module in modules(package))
    unused = {name for name in declared(package, 'exec_depend') if not re.search(rf'\b{name}\b', text)}
    assert not unused


@pytest.mark.parametrize('package', PYTHON_PACKAGES)
def test_every_library_imported_is_pinned(package):
    files = (ROOT / 'requirements' / name for name in ('base.txt', 'ros_wheels.txt'))
    pinned = {
        _normal(line.partition('==')[0]) for file in files for line in file.read_text().splitlines() if '==' in line
    }
    for module in modules(package):
        for name in module.packages:
            if not (is_ros(name) or name in BELOW):
                # By its own name where the distribution's metadata do not tell, as Debian's do.
                candidates = {_normal(found) for found in (name, *DISTRIBUTIONS.get(name, []))}
                assert pinned & candidates, f'{module.path}: {name}'


def _normal(distribution: str) -> str:
    return re.sub('[-_.]+', '-', distribution).lower()

"""The graph's one definition fits the nodes it names, and the launch files add nothing to it."""

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mtopt_bringup import fleet_node, run_node
from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_core.errors import ConfigurationError
from mtopt_node.node import Node

ROOT = Path(__file__).resolve().parents[3]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
SPECS = graph(GraphOptions(simulator=Simulator.MUJOCO))


def node_class(spec):
    module = import_module(f'{spec.package}.{spec.executable}')
    own = [thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == module.__name__]
    return next(thing for thing in own if issubclass(thing, Node))


@pytest.mark.parametrize('spec', SPECS, ids=lambda spec: spec.name)
def test_every_node_has_the_name_and_the_parameters_the_graph_gives_it(spec):
    node = node_class(spec)
    assert spec.name == node.NAME
    declared = {parameter.name: parameter.default for parameter in node.PARAMETERS}
    for name, value in spec.parameters.items():
        assert type(value) is type(declared[name]), name


@pytest.mark.parametrize('spec', SPECS, ids=lambda spec: spec.name)
def test_every_executable_is_installed_and_is_the_module_of_that_name(spec):
    found = {script.value for script in entry_points(group='console_scripts', name=spec.executable)}
    assert found == {f'{spec.package}.{spec.executable}:main'}


def test_a_real_cell_has_no_simulator_and_is_told_so():
    real = {spec.name: spec for spec in graph(GraphOptions())}
    simulated = {spec.name: spec for spec in SPECS}
    assert simulated.keys() - real.keys() == {'simulator'}
    assert simulated['collector'].parameters['simulated']
    assert not real['collector'].parameters['simulated']


def test_a_simulator_elsewhere_is_not_started_but_reckoned_with():
    specs = {spec.name: spec for spec in graph(GraphOptions(simulator=Simulator.ELSEWHERE))}
    assert 'simulator' not in specs
    assert specs['collector'].parameters['simulated']
    assert specs['reset'].parameters['new_scenes'] == 'simulator'


def test_several_robots_share_data_but_no_name_and_no_seed():
    specs = graph(GraphOptions(simulator=Simulator.MUJOCO, robots=3, seed=7))
    names = [spec.full_name for spec in specs]
    assert len(set(names)) == 3 * len(SPECS)
    collectors = [spec for spec in specs if spec.name == 'collector']
    assert len({spec.parameters['seed'] for spec in collectors}) == 3
    assert len({spec.parameters['data_folder'] for spec in collectors}) == 1


def test_one_policy_and_one_detector_serve_a_fleet_under_each_robots_names():
    specs = graph(GraphOptions(simulator=Simulator.MUJOCO, robots=3, shared=True, trainer=True))
    servers = [spec for spec in specs if spec.namespace == '/machine']
    assert [spec.name for spec in servers] == ['success_detector', 'policy', 'trainer']
    for spec in servers[:2]:
        assert spec.parameters['robots'] == ['robot1', 'robot2', 'robot3']
    assert not [spec for spec in specs if spec.namespace != '/machine' and spec.name in ('policy', 'success_detector')]
    assert servers[2].niceness > 0
    assert servers[2].parameters['out'] + '/policy' == servers[1].parameters['checkpoints']


def test_a_training_goes_on_from_the_policy_that_is_there_but_only_once(tmp_path):
    options = GraphOptions(data=tmp_path, trainer=True)

    def start():
        return graph(options)[-1].parameters['start']

    assert start() == ''
    for made in ('policy/v1', 'trainer/v2'):
        folder = tmp_path / 'models' / made
        folder.mkdir(parents=True)
        (folder / 'manifest.json').touch()
        assert start() == ('' if made == 'trainer/v2' else str(tmp_path / 'models' / 'policy'))


def test_a_robots_file_says_what_differs(tmp_path):
    (tmp_path / 'left.yaml').write_text('simulator: none\ncell_file: cell.yaml\nepisodes: 7\n')
    (tmp_path / 'right.yaml').write_text('seed: 40\n')
    options = GraphOptions(simulator=Simulator.MUJOCO, cells=f'{tmp_path}/*.yaml', seed=1, episodes=3)
    collectors = {spec.namespace: spec.parameters for spec in graph(options) if spec.name == 'collector'}
    assert list(collectors) == ['/left', '/right']
    left, right = collectors.values()
    assert (left['simulated'], left['cell_file'], left['episodes'], left['seed']) == (
        False,
        str(tmp_path / 'cell.yaml'),
        7,
        2,
    )
    assert (right['simulated'], right['episodes'], right['seed']) == (True, 3, 40)
    assert [spec.namespace for spec in graph(options) if spec.name == 'simulator'] == ['/right']


@pytest.mark.parametrize(
    ('name', 'text', 'named'),
    [
        ('robot1.yaml', 'simulater: none', 'simulater'),
        ('machine.yaml', '', 'machine'),
        ('robot 1.yaml', '', 'letters'),
        ('robot1.yaml', 'episodes: [', 'robot1.yaml'),
    ],
)
def test_a_robots_file_that_cannot_be_is_refused_by_name(tmp_path, name, text, named):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        graph(GraphOptions(cells=f'{tmp_path}/*.yaml'))


@pytest.mark.parametrize(
    ('asked', 'named'), [({'grade_with': 'simulator'}, 'grade-with'), ({'new_scenes': 'simulator'}, 'new-scenes')]
)
def test_nothing_that_takes_a_simulator_is_asked_of_a_real_robot(tmp_path, asked, named):
    with pytest.raises(ConfigurationError, match=f'robot1 has no simulator, and {named} is simulator; choose'):
        graph(GraphOptions(simulator=Simulator.NONE, **asked))
    graph(GraphOptions(simulator=Simulator.ELSEWHERE, **asked))
    (tmp_path / 'left.yaml').write_text('simulator: none')
    with pytest.raises(ConfigurationError, match='left has no simulator'):
        graph(GraphOptions(simulator=Simulator.MUJOCO, cells=f'{tmp_path}/*.yaml', **asked))


def test_without_a_robots_file_the_pattern_is_named():
    with pytest.raises(ConfigurationError, match='nowhere'):
        graph(GraphOptions(cells='nowhere/*.yaml'))


@pytest.mark.parametrize(('simulator', 'simulated'), [(Simulator.MUJOCO, ['/robot1', '/robot2']), (Simulator.NONE, [])])
def test_the_shipped_cells_are_simulated_where_the_fleet_is(simulator, simulated):
    specs = graph(GraphOptions(simulator=simulator, cells=str(ROOT / 'config' / 'cells' / '*.yaml')))
    assert [spec.namespace for spec in specs if spec.name == 'collector'] == ['/robot1', '/robot2']
    assert [spec.namespace for spec in specs if spec.name == 'simulator'] == simulated


@pytest.mark.parametrize(('module', 'command'), [(run_node, run_node.run), (fleet_node, fleet_node.fleet)])
def test_a_command_tells_its_graph_how_help_is_called_and_scenes_are_made(module, command, tmp_path, monkeypatch):
    given = {
        'help_command': 'notify --urgent',
        'new_scenes': 'person',
        'spares': True,
        'cell_file': 'cell.yaml',
        'tasks_file': 'tasks.yaml',
        'models': str(tmp_path),
        'seed': 3,
    }
    started = []
    monkeypatch.setattr(module, 'run_graph', lambda options, _summaries: started.append(options))
    app = typer.Typer()
    app.command()(command)
    words = [word for name, value in given.items() for word in (f'--{name.replace("_", "-")}', str(value))]
    words.remove('True')
    assert CliRunner().invoke(app, ['--data', str(tmp_path), *words]).exit_code == 0
    assert started[0].model_dump(include=set(given)) == given


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_is_short_and_names_no_node(path):
    text = path.read_text()
    assert len(text.splitlines()) < 40
    assert not [spec.executable for spec in SPECS if spec.executable in text]


@pytest.mark.may_skip
@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_starts_what_the_graph_names(path):
    launch = pytest.importorskip('launch', reason='needs a ROS installation')
    pytest.importorskip('launch_ros')
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(path))
    context = launch.LaunchContext()
    nodes, waiting = [], [description]
    while waiting:
        entity = waiting.pop(0)
        nodes += [entity] if type(entity).__name__ == 'Node' else []
        waiting = [*(entity.visit(context) or []), *waiting] if type(entity).__name__ != 'Node' else waiting
    simulator = Simulator.NONE if 'cell' in path.name else Simulator.MUJOCO
    fleet = {'robots': 2, 'shared': True, 'trainer': True} if 'fleet' in path.name else {}
    expected = [(spec.package, spec.executable) for spec in graph(GraphOptions(simulator=simulator, **fleet))]
    assert [(node.node_package, node.node_executable) for node in nodes] == expected

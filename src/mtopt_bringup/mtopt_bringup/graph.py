"""The one definition of the graph: which nodes a cell consists of, their names, namespaces and parameters.

`mtopt run` and `mtopt fleet` start it as plain processes, the launch files translate it for `ros2 launch`; none adds
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mtopt_bringup.cells import PolicyName, RobotConfiguration, load_cells
from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import shipped

Value = bool | int | float | str | list[str]

MACHINE = 'machine'
"""Namespace of the nodes that serve all robots of a machine."""
TRAINER_NICENESS = 19
TRAINER_SILENCE = 60.0  # s; it only gets what the others leave of the machine

SILENCE = 3.0  # s; a node gives two signs of life per second
# Gazebo's steps and resets keep its node busy for seconds.
GAZEBO_SILENCE = 60.0
RENDERED_STILL = 2.0
"""m that the arm may move while a simulated camera shows the same: it has no noise, and may not see the arm."""


class Simulator(StrEnum):
    """What stands in for the robot."""

    MUJOCO = 'mujoco'
    GAZEBO = 'gazebo'
    ELSEWHERE = 'elsewhere'
    """A simulator that runs already, in another container or on another machine."""
    NONE = 'none'


@dataclass(frozen=True)
class NodeSpec:
    """One node.

    Attributes:
        package: ROS package.
        executable: In `lib/<package>` of the installation, and the module of that name in the package.
        name: Node name.
        namespace: Of its robot, with the leading slash.
        parameters: By name.
        remappings: New topic name by old one.
        leads: Drives the other nodes, so it is stopped before them: they end in order what it has begun.
        silence: s without a sign of life after which the node is taken for frozen.
        spare: A second process of it waits to take its place, as it takes seconds to start.
        niceness: Of its process: above 0 it gives way to the others.
    """

    package: str
    executable: str
    name: str
    namespace: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    leads: bool = False
    silence: float = SILENCE
    spare: bool = False
    niceness: int = 0

    @property
    def full_name(self) -> str:
        """Namespace and name."""
        return f'{self.namespace}/{self.name}'


class GraphOptions(BaseModel):
    """What may differ from one start of the graph to the next; also the arguments of the launch files."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    simulator: Annotated[Simulator, Field(description='what stands in for the robot')] = Simulator.NONE
    data: Annotated[Path, Field(description='folder of bags, labels and catalogue')] = Path('data')
    models: Annotated[str, Field(description='folder of `policy` and `success_detector`; empty: DATA/models')] = ''
    robots: Annotated[int, Field(ge=1, le=100, description='number of robots, robot1 to robotN')] = 1
    cells: Annotated[str, Field(description='files of single robots, config/cells/*.yaml, in place of `robots`')] = ''
    shared: Annotated[bool, Field(description='one policy and one detector node serve all robots')] = False
    trainer: Annotated[bool, Field(description='train on what is collected, and act by what was learned')] = False
    policy: Annotated[PolicyName, Field(description='of episodes nobody asked for')] = 'scripted'
    curriculum: Annotated[str, Field(description='rules of the policy `curriculum`; empty: config/curriculum.yaml')] = (
        ''
    )
    episodes: Annotated[int, Field(ge=-1, description='for each robot to collect; 0: on request, -1: no end')] = -1
    grade_with: Annotated[
        Literal['detector', 'simulator', 'none'],
        Field(description='who grades final images; without a detector in `models` the detector grades nothing'),
    ] = 'detector'
    seed: Annotated[int, Field(ge=-1, description='of the scheduler; -1 draws one')] = -1
    image_size: Annotated[int, Field(ge=16, description="side of the simulated cameras' images, px")] = 128
    cell_file: Annotated[str, Field(description="the cell's configuration; empty: config/cell.yaml")] = ''
    tasks_file: Annotated[str, Field(description='the task set; empty: config/tasks.yaml')] = ''
    new_scenes: Annotated[
        Literal['', 'simulator', 'robot', 'person'],
        Field(description='who makes new scenes; empty: a simulator, of a real cell the robot itself'),
    ] = ''
    spares: Annotated[
        bool, Field(description='keep a second policy and detector ready to take the place of one that dies')
    ] = False
    help_command: Annotated[str, Field(description='run when a robot calls for a person; empty: none')] = ''

    @property
    def checkpoints(self) -> Path:
        """Folder of the folders of checkpoints."""
        return (Path(self.models) if self.models else self.data / 'models').absolute()


def graph(options: GraphOptions) -> list[NodeSpec]:
    """Return the graph's nodes, those first that others wait for.

    Raises:
        ConfigurationError: A robot's file cannot be read, breaks a rule, or there is none; or a robot is asked for what
            takes a simulator, and has none.
    """
    if options.cells:
        cells = load_cells(options.cells)
    else:
        cells = {f'robot{number}': RobotConfiguration() for number in range(1, options.robots + 1)}
    robots = {name: cell.applied(options, number) for number, (name, cell) in enumerate(cells.items(), 1)}
    serving = [] if not options.shared else _servers(MACHINE, robots)
    training = [_trainer(options)] if options.trainer else []
    for name, own in robots.items():
        _require_possible(name, own)
    specs = [spec for name, own in robots.items() for spec in _robot(name, own, several=len(robots) > 1)]
    return [*serving, *specs, *training]


def _require_possible(name: str, options: GraphOptions) -> None:
    """See that nothing is asked of a simulator where there is none.

    Raises:
        ConfigurationError: Something is; a real arm would begin and find out later.
    """
    for option, value in (('grade_with', options.grade_with), ('new_scenes', options.new_scenes)):
        if options.simulator is Simulator.NONE and value == 'simulator':
            others = 'detector or none' if option == 'grade_with' else 'robot or person'
            raise ConfigurationError(
                f'{name} has no simulator, and {option.replace("_", "-")} is simulator; choose {others}'
            )


def _servers(namespace: str, robots: Mapping[str, GraphOptions]) -> list[NodeSpec]:
    """Return the detector and the policy node of one robot, or of several under a namespace of their own."""
    options = next(iter(robots.values()))
    tasks: dict[str, Value] = {'tasks_file': options.tasks_file}
    detector = {
        **tasks,
        'data_folder': str(options.data.absolute()),
        'checkpoints': str(options.checkpoints / 'success_detector'),
    }
    policy = {**tasks, 'cell_file': options.cell_file, 'checkpoints': str(options.checkpoints / 'policy')}
    if namespace == MACHINE:
        detector['robots'] = policy['robots'] = list(robots)
        of_all = options.cell_file or str(shipped('config', 'cell.yaml'))
        policy['cell_files'] = [own.cell_file or of_all for own in robots.values()]
    place = f'/{namespace}'
    return [
        NodeSpec('mtopt_success_detector', 'detector_node', 'success_detector', place, detector, spare=options.spares),
        NodeSpec('mtopt_policy', 'policy_node', 'policy', place, policy, spare=options.spares),
    ]


def _trainer(options: GraphOptions) -> NodeSpec:
    policies = options.checkpoints / 'policy'
    begun = any(options.checkpoints.glob('trainer/[!.]*/manifest.json'))
    there = any(policies.glob('[!.]*/manifest.json'))
    parameters: dict[str, Value] = {
        'bags': str(options.data.absolute()),
        'out': str(options.checkpoints),
        'tasks_file': options.tasks_file,
        'cell_file': options.cell_file,
        # What people and the detector say counts; a simulator's truth only where the whole graph is graded by it.
        'outcomes': ['human', 'simulator' if options.grade_with == 'simulator' else 'detector'],
        # A policy that is there already is gone on from, not replaced by one that knows nothing.
        'start': str(policies) if there and not begun else '',
        'threads': 1,
    }
    return NodeSpec(
        'mtopt_policy',
        'trainer_node',
        'trainer',
        f'/{MACHINE}',
        parameters,
        silence=TRAINER_SILENCE,
        niceness=TRAINER_NICENESS,
    )


def _robot(name: str, options: GraphOptions, several: bool) -> list[NodeSpec]:
    namespace = f'/{name}'
    simulated = options.simulator is not Simulator.NONE
    cell: dict[str, Value] = {'cell_file': options.cell_file}
    tasks: dict[str, Value] = {'tasks_file': options.tasks_file}
    data: dict[str, Value] = {'data_folder': str(options.data.absolute())}

    # Simulated robots run at their own pace: with several, each has a clock of its own instead of the common one.
    clock = {'/clock': f'{namespace}/clock'} if simulated and several else {}

    def node(package: str, name: str, parameters: Mapping[str, Value]) -> NodeSpec:
        silence = simulator_silence if name == 'simulator' else SILENCE
        return NodeSpec(package, f'{name}_node', name, namespace, parameters, clock, name == 'collector', silence)

    new_scenes = options.new_scenes or ('simulator' if simulated else 'robot')
    scripted = options.policy == 'scripted'
    simulator_silence = SILENCE if options.simulator is Simulator.MUJOCO else GAZEBO_SILENCE
    simulator = {**tasks, 'simulator': options.simulator.value, 'image_size': options.image_size}
    started = options.simulator in (Simulator.MUJOCO, Simulator.GAZEBO)
    return [
        *([node('mtopt_sim', 'simulator', simulator)] if started else []),
        node(
            'mtopt_collector', 'camera_ingestion', {**cell, **({'frozen_after': RENDERED_STILL} if simulated else {})}
        ),
        node('mtopt_collector', 'arm_controller', {**cell, **data, 'joint_state_timeout': 0.0 if simulated else 0.5}),
        node('mtopt_collector', 'recorder', {**cell, **data}),
        node(
            'mtopt_collector',
            'reset',
            {**cell, **tasks, 'new_scenes': new_scenes, 'picking': 'scripted' if scripted else 'learned'},
        ),
        *(replace(spec, remappings=clock) for spec in ([] if options.shared else _servers(name, {name: options}))),
        node(
            'mtopt_collector',
            'collector',
            {
                **cell,
                **tasks,
                **data,
                'simulated': simulated,
                'new_scenes': new_scenes,
                'servers': MACHINE if options.shared else '',
                'silence': SILENCE,
                'simulator_silence': simulator_silence,
                'help_command': options.help_command,
                'episodes': options.episodes,
                'policy': options.policy,
                'curriculum': options.curriculum,
                'grade_with': options.grade_with,
                'seed': options.seed,
            },
        ),
    ]

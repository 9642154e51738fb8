"""The one definition of the graph: which nodes a cell consists of, their names, namespaces and parameters.

`mtopt run` starts it as plain processes, the launch files translate it for `ros2 launch`; neither adds anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Value = bool | int | float | str | list[str]

SILENCE = 3.0  # s; a node gives two signs of life per second
# Gazebo's steps and resets keep its node busy for seconds.
GAZEBO_SILENCE = 60.0


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
    policy: Annotated[Literal['scripted', 'learned', 'mixture'], Field(description='of episodes nobody asked for')] = (
        'scripted'
    )
    episodes: Annotated[int, Field(ge=-1, description='for each robot to collect; 0: on request, -1: no end')] = -1
    grade_with: Annotated[Literal['detector', 'simulator', 'none'], Field(description='who grades final images')] = (
        'detector'
    )
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
    """Return the graph's nodes, those first that others wait for."""
    return [spec for number in range(1, options.robots + 1) for spec in _robot(f'/robot{number}', number, options)]


def _robot(namespace: str, number: int, options: GraphOptions) -> list[NodeSpec]:
    simulated = options.simulator is not Simulator.NONE
    cell: dict[str, Value] = {'cell_file': options.cell_file}
    tasks: dict[str, Value] = {'tasks_file': options.tasks_file}
    data: dict[str, Value] = {'data_folder': str(options.data.absolute())}

    # Simulated robots run at their own pace: with several, each has a clock of its own instead of the common one.
    clock = {'/clock': f'{namespace}/clock'} if simulated and options.robots > 1 else {}

    def node(package: str, name: str, parameters: Mapping[str, Value], executable: str = '') -> NodeSpec:
        silence = simulator_silence if name == 'simulator' else SILENCE
        executable = executable or f'{name}_node'
        spare = options.spares and name in ('policy', 'success_detector')
        return NodeSpec(package, executable, name, namespace, parameters, clock, name == 'collector', silence, spare)

    new_scenes = options.new_scenes or ('simulator' if simulated else 'robot')
    scripted = options.policy == 'scripted'
    simulator_silence = SILENCE if options.simulator is Simulator.MUJOCO else GAZEBO_SILENCE
    simulator = {**tasks, 'simulator': options.simulator.value, 'image_size': options.image_size}
    started = options.simulator in (Simulator.MUJOCO, Simulator.GAZEBO)
    return [
        *([node('mtopt_sim', 'simulator', simulator)] if started else []),
        node('mtopt_collector', 'camera_ingestion', cell),
        node('mtopt_collector', 'arm_controller', {**cell, **data, 'joint_state_timeout': 0.0 if simulated else 0.5}),
        node('mtopt_collector', 'recorder', {**cell, **data}),
        node(
            'mtopt_collector',
            'reset',
            {**cell, **tasks, 'new_scenes': new_scenes, 'picking': 'scripted' if scripted else 'learned'},
        ),
        node(
            'mtopt_success_detector',
            'success_detector',
            {**tasks, **data, 'checkpoints': str(options.checkpoints / 'success_detector')},
            executable='detector_node',
        ),
        node('mtopt_policy', 'policy', {**cell, **tasks, 'checkpoints': str(options.checkpoints / 'policy')}),
        node(
            'mtopt_collector',
            'collector',
            {
                **cell,
                **tasks,
                **data,
                'simulated': simulated,
                'new_scenes': new_scenes,
                'silence': SILENCE,
                'simulator_silence': simulator_silence,
                'help_command': options.help_command,
                'episodes': options.episodes,
                'policy': options.policy,
                'grade_with': options.grade_with,
                'seed': options.seed if options.seed < 0 else options.seed + number,
            },
        ),
    ]

"""`mtopt run`: the whole graph in separate processes, without `ros2 launch`; shows what the collectors say they do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rich import box
from rich.console import Console
from rich.table import Table

from mtopt_bringup import graph_command_options as option
from mtopt_bringup.display_node import Display, display
from mtopt_bringup.graph import MACHINE, GraphOptions, NodeSpec, Simulator, graph
from mtopt_bringup.interruption import Interruption
from mtopt_bringup.launcher import Launcher, NodeDiedError
from mtopt_bringup.supervisor import Supervisor, silences
from mtopt_collector.help_call import HelpCall, HelpCallError
from mtopt_core.cadence import Cadence, EpisodeCadence, by_policy, read_cadence, summarise
from mtopt_core.errors import MtoptError
from mtopt_core.heartbeats import Heartbeats
from mtopt_core.paths import DataFolder
from mtopt_core.shared_memory import dead_ports_held
from mtopt_msgs.msg import CollectorStatus
from mtopt_node.qos import EVENTS, LATCHED

LOOK_PERIOD = 0.2  # s
LISTEN = 2.0
"""s of looking for another graph: every node of it gives two signs of life per second, once DDS has found it."""
STUCK = CollectorStatus.STATE_NEEDS_PERSON


class CollectionStoppedError(MtoptError):
    """Collectors need a person and nobody is there."""


class GraphRunningError(MtoptError):
    """Another graph has nodes of these names: both would command one robot."""


def run(
    data: option.Data,
    sim: option.Sim = Simulator.MUJOCO,
    episodes: option.Episodes = -1,
    policy: option.Policy = 'scripted',
    models: option.Models = None,
    grade_with: option.GradeWith = 'detector',
    robots: option.Robots = 1,
    seed: option.Seed = -1,
    image_size: option.ImageSize = 128,
    new_scenes: option.NewScenes = None,
    spares: option.Spares = False,
    help_command: option.HelpCommand = '',
    cell_file: option.CellFile = '',
    tasks_file: option.TasksFile = '',
) -> None:
    """Start every node of the cell and collect episodes.

    A simulated robot moves only while a step is carried out, as fast as the machine can. Every node is a process of
    its own; logs are in DATA/log. Ctrl-C ends the running episode and stops all nodes in order. On a machine with a
    ROS installation `ros2 launch launch/sim.launch.py` starts the same nodes.
    """
    options = GraphOptions(
        simulator=sim,
        data=data,
        models='' if models is None else str(models),
        robots=robots,
        policy=policy,
        episodes=episodes,
        grade_with=grade_with,
        seed=seed,
        image_size=image_size,
        new_scenes=new_scenes or '',
        spares=spares,
        help_command=help_command,
        cell_file=cell_file,
        tasks_file=tasks_file,
    )
    run_graph(options, (by_policy,))


def run_graph(options: GraphOptions, summaries: Sequence[Callable[[EpisodeCadence], str]]) -> None:
    """Run the graph until every robot has its episodes, or until Ctrl-C, then print their cadence.

    Args:
        options: What to start; logs go to the folder `log` of its data.
        summaries: What the episodes of a column have in common, by table; see `summarise`.

    Raises:
        NodeDiedError: A node ended right at its start, or again and again.
        GraphRunningError: Nodes of these names are there already.
        CollectionStoppedError: No robot can go on without a person, and no command calls one.
    """
    data, console = DataFolder(options.data), Console()
    before = len(_cadence(data))
    try:
        _run_until_done(options, data, console)
    except GraphRunningError:
        summaries = ()  # what has been collected meanwhile is the other graph's
        raise
    finally:
        collected = _cadence(data)[before:]
        for common in summaries:
            if measured := summarise(collected, common):
                console.print(cadence_table(measured))


def _cadence(data: DataFolder) -> list[EpisodeCadence]:
    """Return the cadence noted so far; a file that cannot be read now is no reason to stop a robot."""
    try:
        return read_cadence(data)
    except OSError:
        return []


def _run_until_done(options: GraphOptions, data: DataFolder, console: Console) -> None:
    specs, logs = graph(options), data.root / 'log'
    before = len(_cadence(data))
    wanted = {spec.namespace.strip('/'): int(str(spec.parameters['episodes'])) for spec in specs if spec.leads}
    total = sum(wanted.values()) if min(wanted.values()) > 0 else 0
    with (
        Interruption() as interruption,
        display(console, max(wanted.values()) if total else None) as shown,
        StatusListener(wanted, silences(specs)) as statuses,
    ):
        care = Care(specs, HelpCall(MACHINE, options.help_command, data), shown)
        statuses.require_alone()
        with (
            Launcher(specs, logs, os.environ) as launcher,
            care.of(Supervisor(launcher, statuses.heartbeats, time.monotonic())) as tend,
        ):
            while not interruption.requested:
                statuses.listen(LOOK_PERIOD)
                tend()
                shown.show(statuses.newest.values())
                if total and not options.help_command:
                    require_hope(wanted, statuses.newest, logs)
                if total and total <= len(_cadence(data)) - before:
                    break
            shown.stopping()
    if interruption.requested:
        console.print(f'stopped; everything collected is in {data.root}')


class Care:
    """Tells people what a supervisor had to do.

    Args:
        specs: The nodes.
        call: Calls a person when a node is given up and no collector does: one that serves all robots, or a collector.
        shown: Where everything is told.
    """

    def __init__(self, specs: Iterable[NodeSpec], call: HelpCall, shown: Display) -> None:
        self._uncared = {spec.full_name for spec in specs if spec.leads or spec.namespace == f'/{MACHINE}'}
        self._call_command, self._shown = call, shown

    @contextmanager
    def of(self, supervisor: Supervisor) -> Iterator[Callable[[], None]]:
        """Yield what tends every node once; in the end tell what had to be started again, and what was given up."""
        try:
            yield partial(self._tend, supervisor)
        except NodeDiedError as error:
            if supervisor.given_up:
                self._call(str(error))
            raise
        finally:
            for name, times in supervisor.respawned.items():
                self._shown.say(
                    f'{name} was started again {times} times' + ', and given up' * (name in supervisor.given_up)
                )

    def _tend(self, supervisor: Supervisor) -> None:
        known = set(supervisor.given_up)
        for told in supervisor.tend(time.monotonic()):
            self._shown.say(told)
        for name in (supervisor.given_up.keys() - known) & self._uncared:
            self._call(supervisor.given_up[name])

    def _call(self, message: str) -> None:
        try:
            self._call_command.call(message, {})
        except HelpCallError as error:
            self._shown.say(str(error))


def require_hope(wanted: Mapping[str, int], newest: Mapping[str, CollectorStatus], logs: Path) -> None:
    """See that some robot can go on without a person.

    Args:
        wanted: Episodes each robot is to collect.
        newest: Each robot's last status; those missing have yet to begin.
        logs: For the message.

    Raises:
        CollectionStoppedError: Whoever is not done needs a person.
    """
    going = [robot for robot, number in wanted.items() if robot not in newest or newest[robot].episodes < number]
    stuck = [newest[robot] for robot in going if robot in newest and newest[robot].state == STUCK]
    if stuck and len(stuck) == len(going):
        needs = '; '.join(f'{one.robot} needs a person: {one.message}' for one in stuck)
        raise CollectionStoppedError(f'{needs}; logs are in {logs}')


class StatusListener:
    """A node for the time of a context; Ctrl-C stays with whoever uses it.

    Attributes:
        newest: Each robot's last status, by name; robots not heard of yet are missing.
        heartbeats: The nodes' signs of life.

    Args:
        robots: Their names.
        silence: s after which a node is taken for frozen, by full name.
    """

    def __init__(self, robots: Iterable[str], silence: Mapping[str, float]) -> None:
        self._robots, self._names = tuple(robots), tuple(silence)
        self.heartbeats = Heartbeats(silence)
        self.newest: dict[str, CollectorStatus] = {}

    def __enter__(self) -> StatusListener:
        """Start listening."""
        with dead_ports_held():
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            self._node = Node('status')
        for robot in self._robots:
            self._node.create_subscription(CollectorStatus, f'/{robot}/status', partial(self._take, robot), LATCHED)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._hear, EVENTS)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def require_alone(self) -> None:
        """See that none of the nodes is there before they are started.

        Raises:
            GraphRunningError: One is; the message names it and its process.
        """
        deadline = time.monotonic() + LISTEN
        while time.monotonic() < deadline:
            self.listen(LOOK_PERIOD)
            for name, pid in self.heartbeats.pids(self._names).items():
                raise GraphRunningError(
                    f'{name} runs already (process {pid}) in ROS domain {self._node.context.get_domain_id()}: two '
                    'graphs would command the same robot. Stop that one, or, where this is to be another robot, choose '
                    'another ROS_DOMAIN_ID for this command and whatever belongs to it'
                )

    def listen(self, seconds: float) -> None:
        """Take in what arrives in `seconds` of wall time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _hear(self, array: DiagnosticArray) -> None:
        for status in array.status:
            values = ((pair.key, pair.value) for pair in status.values)
            self.heartbeats.hear(status.name, values, time.monotonic())

    def _take(self, robot: str, status: CollectorStatus) -> None:
        self.newest[robot] = status


def cadence_table(cadences: Sequence[Cadence]) -> Table:
    """Return the cadence report for a terminal, one column per policy or robot."""
    table = Table('cadence, in wall time', *(cadence.name for cadence in cadences), box=box.SIMPLE_HEAD)
    rows: dict[str, Callable[[Cadence], str]] = {
        'episodes': lambda one: str(one.episodes),
        'control steps': lambda one: str(one.steps),
        'control steps per second': lambda one: f'{one.steps_per_second:.1f}',
        'decision, median': lambda one: f'{1e3 * one.decision_time:.1f} ms',
        'image age, median': lambda one: '-' if one.image_age is None else f'{1e3 * one.image_age:.1f} ms',
        'steps within their declared period': lambda one: (
            f'{100 * (1 - one.late_steps / one.timed_steps):.2f} %' if one.timed_steps else '-'
        ),
        'slowest step': lambda one: '-' if one.slowest_step is None else f'{1e3 * one.slowest_step:.0f} ms',
        'messages recorded': lambda one: str(one.messages),
        'messages lost': lambda one: str(one.dropped),
    }
    for name, figure in rows.items():
        table.add_row(name, *(figure(cadence) for cadence in cadences))
    return table

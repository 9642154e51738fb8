"""`mtopt run`: the whole graph in separate processes, without `ros2 launch`; shows what the collectors say they do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mtopt_bringup import graph_command_options as option
from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.interruption import Interruption
from mtopt_bringup.launcher import Launcher
from mtopt_bringup.supervisor import Supervisor, silences
from mtopt_core.cadence import Cadence, EpisodeCadence, by_policy, read_cadence, summarise
from mtopt_core.errors import MtoptError
from mtopt_core.heartbeats import Heartbeats
from mtopt_core.paths import DataFolder
from mtopt_core.shared_memory import dead_ports_held
from mtopt_msgs.msg import CollectorStatus
from mtopt_node.qos import EVENTS, LATCHED

LOOK_PERIOD = 0.2  # s


class CollectionStoppedError(MtoptError):
    """A collector needs a person and nobody is there."""


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
        CollectionStoppedError: A robot cannot go on without a person.
    """
    data, console = DataFolder(options.data), Console()
    before = len(_cadence(data))
    try:
        _run_until_done(options, data, console)
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
    collectors = [spec for spec in specs if spec.leads]
    robots = [spec.namespace.strip('/') for spec in collectors]
    wanted = [int(str(spec.parameters['episodes'])) for spec in collectors]
    total = sum(wanted) if min(wanted) > 0 else 0
    with (
        Interruption() as interruption,
        _Display(options, console) as display,
        Launcher(specs, logs, os.environ) as launcher,
        StatusListener(robots, silences(specs)) as statuses,
    ):
        supervisor = Supervisor(launcher, statuses.heartbeats, time.monotonic())
        while not interruption.requested:
            statuses.listen(LOOK_PERIOD)
            supervisor.tend(time.monotonic())
            display.show(statuses.newest.values())
            stuck = [one for one in statuses.newest.values() if one.state == one.STATE_NEEDS_PERSON]
            if stuck and total:
                raise CollectionStoppedError(f'{stuck[0].robot} needs a person: {stuck[0].message}; logs are in {logs}')
            if total and total <= len(_cadence(data)) - before:
                break
        display.stopping()
    if interruption.requested:
        console.print(f'stopped; everything collected is in {data.root}')


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
        self._robots = tuple(robots)
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


class _Display:
    """One line per robot.

    Args:
        options: What was started.
        console: Where to show it.
    """

    def __init__(self, options: GraphOptions, console: Console) -> None:
        self._total = options.episodes if options.episodes > 0 else None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn('{task.description}'),
            *([BarColumn()] if self._total else []),
            TextColumn('{task.fields[doing]}'),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._nodes = self._progress.add_task('starting the nodes', total=self._total, doing='')
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, statuses: Iterable[CollectorStatus]) -> None:
        """Show what the robots are doing."""
        for status in statuses:
            self._progress.update(self._nodes, visible=False)
            if status.robot not in self._bars:
                self._bars[status.robot] = self._progress.add_task(status.robot, total=self._total, doing='')
            self._progress.update(self._bars[status.robot], completed=status.episodes, doing=_sentence(status))

    def stopping(self) -> None:
        """Say that the nodes are being stopped."""
        self._progress.update(self._nodes, description='stopping the nodes', visible=True)


def _sentence(status: CollectorStatus) -> str:
    doing = {
        status.STATE_IDLE: 'idle',
        status.STATE_RESETTING: f'resetting for {status.task}',
        status.STATE_RUNNING: status.task,
        status.STATE_GRADING: f'grading {status.task}',
        status.STATE_PAUSED: 'paused',
        status.STATE_WAITING: f'[yellow]waits: {status.message}[/]',
        status.STATE_NEEDS_PERSON: f'[bold red]needs a person: {status.message}[/]',
    }[status.state]
    return f'{status.episodes} episodes, {status.successes} successes; {doing}'


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

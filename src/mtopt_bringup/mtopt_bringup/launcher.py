"""Starts the graph's nodes as separate processes, watches them, stops them in order: `ros2 launch` without `launch`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

import yaml

from mtopt_bringup.graph import NodeSpec
from mtopt_core.child_processes import SHOW_STACKS, die_with_parent
from mtopt_core.errors import ConfigurationError, MtoptError
from mtopt_core.shared_memory import remove_stale_segments
from mtopt_core.whole_file import write_whole

STOP_TIMEOUT = 8.0  # s of wall time for a node to finish its episode's bag and shut down
TERMINATE_TIMEOUT = 2.0
STACKS_TIME = 0.1  # s for a node that hangs to print where
LOG_TAIL = 12  # lines of a dead node's log that are worth showing


class NodeDiedError(MtoptError):
    """A node of the graph ended by itself."""


@dataclass(frozen=True)
class RunningNode:
    """A started node.

    Attributes:
        spec: What was started.
        process: Its process, leader of a group of its own.
        log: File of everything it printed.
    """

    spec: NodeSpec
    process: subprocess.Popen[bytes]
    log: Path


class Launcher:
    """The graph's processes; a context manager that starts them and stops them whatever happens.

    Args:
        specs: The nodes, started in this order.
        logs: Folder for one log and one parameter file per node.
        environment: Environment of the nodes.
    """

    def __init__(self, specs: Sequence[NodeSpec], logs: Path, environment: Mapping[str, str]) -> None:
        self._specs = tuple(specs)
        self._logs = logs
        self._environment = dict(environment)
        self._spares: dict[str, RunningNode] = {}
        self.nodes: tuple[RunningNode, ...] = ()

    def __enter__(self) -> Launcher:
        """Start every node.

        Raises:
            ConfigurationError: There can be no folder of logs.
        """
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f'folder {self._logs} cannot be made: {error.strerror}') from None
        try:
            for spec in self._specs:
                self.nodes += (self._start(spec),)
            for node in self.nodes:
                self._keep_spare(node.spec)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every node."""
        self.stop()

    def kill(self, node: RunningNode) -> None:
        """Kill a node, frozen or not, where it still runs; its log tells where it hung, unless it was stopped."""
        if node.process.poll() is None:
            _show_stacks(node)
            _kill(node.process)

    def respawn(self, node: RunningNode) -> None:
        """Start a node again, killed before where it still runs; its log goes on."""
        self.kill(node)
        again = self._spare_of(node.spec) or self._start(node.spec, again=True)
        self.nodes = tuple(again if one is node else one for one in self.nodes)
        self._keep_spare(node.spec)

    def _keep_spare(self, spec: NodeSpec) -> None:
        if spec.spare:
            self._spares[spec.full_name] = self._start(spec, again=True, spare=True)

    def _spare_of(self, spec: NodeSpec) -> RunningNode | None:
        """Return a node's spare, told to take its place; None where there is none that lives."""
        spare = self._spares.pop(spec.full_name, None)
        if spare is None or spare.process.poll() is not None or spare.process.stdin is None:
            return None
        with suppress(OSError):
            spare.process.stdin.write(b'\n')
            spare.process.stdin.flush()
            return spare
        return None

    def _start(self, spec: NodeSpec, again: bool = False, spare: bool = False) -> RunningNode:
        stem = spec.full_name.strip('/').replace('/', '.')
        parameters = self._logs / f'{stem}.yaml'
        # A file rather than `-p name:=value`: paths and empty strings keep their type. Written once: a node that is
        # started again finds it there even if the disk is full by then.
        if not (again and parameters.exists()):
            write_whole(parameters, yaml.safe_dump({'/**': {'ros__parameters': dict(spec.parameters)}}))
        log = self._logs / f'{stem}.log'
        if not again and log.exists():
            log.replace(log.with_suffix('.log.1'))  # of the night that failed, which one looks at after starting anew
        prefix = ['mtopt_node.spare'] if spare else []
        module = f'{spec.package}.{spec.executable}'
        with log.open('ab' if again else 'wb') as output:
            process = subprocess.Popen(
                [sys.executable, '-m', *prefix, module, *ros_arguments(spec, parameters)],
                env=self._environment,
                stdin=subprocess.PIPE if spare else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the launcher, which then stops the nodes in order
                preexec_fn=partial(_prepare, os.getpid(), spec.niceness),
            )
        return RunningNode(spec, process, log)

    def check(self) -> None:
        """See that every node is alive.

        Raises:
            NodeDiedError: One is not; the message names it, its log and the log's last lines.
        """
        for node in self.nodes:
            status = node.process.poll()
            if status is not None:
                raise NodeDiedError(
                    f'node {node.spec.full_name} ended with status {status}; its log is {node.log}:\n{tail(node.log)}'
                )

    def stop(self) -> tuple[str, ...]:
        """Stop every node, those that lead first: SIGINT, then SIGTERM and SIGKILL for those that do not listen.

        Returns:
            The full names of the nodes that had to be killed.
        """
        for spare in self._spares.values():
            _kill(spare.process)
        self._spares.clear()
        leading = [node for node in self.nodes if node.spec.leads]
        following = [node for node in self.nodes if not node.spec.leads]
        killed = (*_stop(leading), *_stop(following))
        remove_stale_segments()  # of nodes killed now or before, and what was made to send to them
        return killed


def _stop(nodes: Sequence[RunningNode]) -> tuple[str, ...]:
    running = [node for node in nodes if node.process.poll() is None]
    for number, timeout in ((signal.SIGINT, STOP_TIMEOUT), (signal.SIGTERM, TERMINATE_TIMEOUT)):
        for node in running:
            _signal_group(node.process, number)
        deadline = time.monotonic() + timeout
        while running and time.monotonic() < deadline:
            running = [node for node in running if node.process.poll() is None]
            time.sleep(0.02)
        for node in running:
            _show_stacks(node)
    for node in running:
        _kill(node.process)
    return tuple(node.spec.full_name for node in running)


def ros_arguments(spec: NodeSpec, parameters: Path) -> list[str]:
    """Return the command-line arguments that give a node its name, namespace, remappings and parameters."""
    rules = {'__node': spec.name, '__ns': spec.namespace, **spec.remappings}
    remaps = [argument for old, new in rules.items() for argument in ('-r', f'{old}:={new}')]
    return ['--ros-args', *remaps, '--params-file', str(parameters)]


def tail(log: Path, lines: int = LOG_TAIL) -> str:
    """Return a log's last lines."""
    return '\n'.join(log.read_text(errors='replace').splitlines()[-lines:])


def _prepare(launcher: int, niceness: int) -> None:
    """Prepare a node's process before its program starts."""
    # A launcher that is killed must not leave an arm moving.
    die_with_parent(launcher, signal.SIGINT)
    os.nice(niceness)


def _show_stacks(node: RunningNode) -> None:
    with suppress(ProcessLookupError):
        os.kill(node.process.pid, SHOW_STACKS)
        time.sleep(STACKS_TIME)


def _kill(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)

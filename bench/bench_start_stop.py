"""Does the graph start and stop a thousand times without a leak or a hang?

Every node of a simulated cell, a process each, goes through its lifecycle over and over: configure and activate in the
graph's order, then deactivate and clean up the other way round. Wanted: no transition fails or takes longer than
`--patience`; threads, open files and segments of shared memory are no more at the end than after the first tenth; a
process' own memory grows by less than 5 %. Of shared memory the segments are counted, which are of fixed size: how much
of them has been touched so far is no leak. The growth of either half tells whether it levels off.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import rclpy
import typer
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from measuring import load
from rclpy.node import Node
from rclpy.task import Future
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtopt_bringup.graph import GraphOptions, NodeSpec, Simulator, graph
from mtopt_bringup.launcher import Launcher
from mtopt_core.environment import free_domain, prepare
from mtopt_core.shared_memory import SHARED_MEMORY

UP = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
DOWN = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
START_TIMEOUT = 120.0
GROWTH = 0.05
"""Share by which memory may grow after warm-up."""


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory: int
    threads: int
    files: int


def held(pid: int) -> Held:
    """Return what a process holds: bytes of anonymous memory, threads, open files."""
    status = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
    memory = int(status['RssAnon'].split()[0]) * 1024
    return Held(memory, int(status['Threads']), len(list(Path(f'/proc/{pid}/fd').iterdir())))


def segments(pids: Iterable[int]) -> set[str]:
    """Return the files of Fast DDS in shared memory that some processes have mapped."""
    lines = (line for pid in pids for line in Path(f'/proc/{pid}/maps').read_text().splitlines())
    return {line.split()[-1] for line in lines if f'{SHARED_MEMORY}/fastrtps_' in line and '(deleted)' not in line}


class Conductor:
    """Drives the nodes' lifecycles over their services."""

    def __init__(self, specs: list[NodeSpec], patience: float) -> None:
        self._node = Node('conductor')
        self._patience = patience
        self._names = [spec.full_name for spec in specs]
        self._change = {name: self._node.create_client(ChangeState, f'{name}/change_state') for name in self._names}
        self._state = {name: self._node.create_client(GetState, f'{name}/get_state') for name in self._names}
        for client in (*self._change.values(), *self._state.values()):
            if not client.wait_for_service(START_TIMEOUT):
                raise SystemExit(f'{client.srv_name} is not there after {START_TIMEOUT:g} s')

    def cycle(self) -> None:
        """Bring all nodes up in order, see that they are active, and down again the other way round."""
        for name in self._names:
            for transition in UP:
                self._to(name, transition)
        for name in self._names:
            state = self._wait(self._state[name].call_async(GetState.Request()), f'{name}/get_state').current_state.id
            if state != State.PRIMARY_STATE_ACTIVE:
                raise SystemExit(f'{name} is in state {state}, not active')
        for name in reversed(self._names):
            for transition in DOWN:
                self._to(name, transition)

    def close(self) -> None:
        """Leave the graph, with what the nodes have mapped to answer."""
        self._node.destroy_node()

    def _to(self, name: str, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._wait(self._change[name].call_async(request), f'{name}, transition {transition}').success:
            raise SystemExit(f'{name} refused transition {transition}')

    def _wait(self, future: Future, what: str) -> ChangeState.Response | GetState.Response:
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=self._patience)
        if not future.done():
            raise SystemExit(f'{what}: no answer within {self._patience:g} s; it hangs')
        return future.result()


def main(
    cycles: Annotated[int, typer.Option(min=20, help='Times to start and stop.')] = 1000,
    patience: Annotated[float, typer.Option(help='s a transition may take.')] = 30.0,
) -> None:
    """Start and stop the graph and print what its processes hold."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        options = GraphOptions(
            simulator=Simulator.MUJOCO, data=Path(folder, 'data'), episodes=0, grade_with='none', image_size=64
        )
        specs = [replace(spec, parameters={**spec.parameters, 'autostart': False}) for spec in graph(options)]
        with Launcher(specs, Path(folder, 'log'), os.environ) as launcher:
            rclpy.init()
            conductor = Conductor(specs, patience)
            pids = {node.spec.full_name: node.process.pid for node in launcher.nodes}
            warm: dict[str, Held] = {}
            halfway: dict[str, Held] = {}
            start = time.monotonic()
            for number in track(range(cycles), 'starting and stopping', transient=True):
                conductor.cycle()
                if number == cycles // 10:
                    warm, segments_warm = {name: held(pid) for name, pid in pids.items()}, segments(pids.values())
                if number == (cycles + cycles // 10) // 2:
                    halfway = {name: held(pid) for name, pid in pids.items()}
            seconds = (time.monotonic() - start) / cycles
            end, segments_end = {name: held(pid) for name, pid in pids.items()}, segments(pids.values())
            conductor.close()
            rclpy.try_shutdown()
            killed = launcher.stop()
        left = [name for name in segments_end if Path(name).exists()]
    failed = _report(warm, halfway, end, cycles - cycles // 10)
    console = Console()
    console.print(f'{cycles} cycles of {len(specs)} nodes, {seconds:.2f} s each, no transition hung or failed')
    console.print(
        f'shared memory: {len(segments_warm)} files after warm-up, {len(segments_end)} at the end (limit: no more)'
    )
    console.print(f'left over after stopping: {len(left)} files of shared memory, {len(killed)} nodes to be killed')
    console.print(load())
    if failed or len(segments_end) > len(segments_warm) or left or killed:
        raise SystemExit(1)


def _report(warm: dict[str, Held], halfway: dict[str, Held], end: dict[str, Held], cycles: int) -> bool:
    """Print what each process held; returns whether one holds more than it may."""
    halves = ('kB a cycle, first half', 'second half')
    table = Table('node', 'memory after warm-up', 'at the end', 'growth (limit 5 %)', *halves, 'threads', 'open files')
    failed = False
    for name, first in warm.items():
        middle, last = halfway[name], end[name]
        growth = last.memory / first.memory - 1
        failed |= growth >= GROWTH or last.threads > first.threads or last.files > first.files
        table.add_row(
            name,
            f'{first.memory / 1e6:.1f} MB',
            f'{last.memory / 1e6:.1f} MB',
            f'{growth:+.1%}',
            *(
                f'{(later.memory - earlier.memory) / 1e3 / (cycles / 2):.1f}'
                for earlier, later in ((first, middle), (middle, last))
            ),
            f'{first.threads} to {last.threads}',
            f'{first.files} to {last.files}',
        )
    Console().print(table)
    return failed


if __name__ == '__main__':
    typer.run(main)

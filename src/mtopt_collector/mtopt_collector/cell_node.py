"""What the nodes of one robot's cell share: the robot's name, the cell's configuration, waiting for messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.task import Future

from mtopt_core.configuration import CellConfiguration, load_cell
from mtopt_core.errors import ConfigurationError
from mtopt_node.calls import CallError
from mtopt_node.node import Node
from mtopt_node.parameters import Parameter

CELL_FILE = Parameter('cell_file', '', "the cell's configuration; empty for the shipped config/cell.yaml")
TASKS_FILE = Parameter('tasks_file', '', 'the task set; empty for the shipped config/tasks.yaml')
DATA_FOLDER = Parameter('data_folder', 'data', 'folder of bags, labels and catalogue')

POLL_PERIOD = 0.05  # s
DISCOVERY_TIMEOUT = 5.0  # s until a node that is just starting must have been found


@dataclass(frozen=True)
class _Wait:
    """Somebody waits until a condition is true, at most until `deadline`, s of steady time."""

    condition: Callable[[], bool]
    deadline: float
    future: Future


class CellNode(Node):
    """A node that belongs to one robot.

    Attributes:
        robot: The robot's namespace without slashes.
        cell: The cell's configuration.
        steady: The clock of all timeouts; `/clock` stands still while a lock-step simulator waits.
        active: Whether it may work; an inactive node listens, but commands, publishes and records nothing.
    """

    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (CELL_FILE,)

    def __init__(self) -> None:
        super().__init__()
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.robot = self.get_namespace().strip('/')
        if not self.robot:
            raise ConfigurationError(
                f'node {self.NAME} needs the namespace of its robot; start it with --ros-args -r __ns:=/<robot>'
            )
        cell_file = self.value('cell_file')
        self.cell: CellConfiguration = load_cell(Path(cell_file) if cell_file else None)
        self.active = False
        self._waiting: list[_Wait] = []

    def activate(self) -> None:
        """Start working."""
        self.active = True

    def deactivate(self) -> None:
        """Stop working; the arm holds. Whoever waits does so in vain."""
        self.active = False
        for wait in self._waiting:
            if not wait.future.done():
                wait.future.set_result(False)

    @property
    def now(self) -> float:
        """Steady time, s."""
        return self.steady.now().nanoseconds / 1e9

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait, while other callbacks run, until a condition is true.

        Args:
            condition: Asked at every `recheck`, and now and then.
            timeout: s of wall time.

        Returns:
            Whether the condition became true in time, and before the node was deactivated.
        """
        if condition():
            return True
        wait = _Wait(condition, self.now + timeout, Future())
        self._waiting.append(wait)
        timer = self.create_timer(POLL_PERIOD, self.recheck, clock=self.steady)
        try:
            return await wait.future
        finally:
            self._waiting.remove(wait)
            self.destroy_timer(timer)

    async def ask(
        self, client: Client, request: Any, timeout: float, given_up: Callable[[], bool] = lambda: False
    ) -> Any:
        """Call a service and wait, while other callbacks run, for its response.

        Args:
            client: In a reentrant group.
            request: What to ask.
            timeout: s of wall time.
            given_up: True when nobody wants the response any more.

        Raises:
            CallError: The service is not there, does not answer in time, or was given up.
        """
        if not await self.until(client.service_is_ready, min(timeout, DISCOVERY_TIMEOUT)):
            raise CallError(f'service {client.srv_name} is not there; is its node running?')
        future = client.call_async(request)
        future.add_done_callback(lambda _: self.recheck())
        answered = await self.until(lambda: future.done() or given_up(), timeout)
        if not future.done():
            client.remove_pending_request(future)
        if given_up():
            raise CallError(f'service {client.srv_name}: given up, nobody waits for it any more')
        if not answered:
            raise CallError(f'service {client.srv_name} did not answer within {timeout:g} s; is its node alive?')
        return future.result()

    def recheck(self) -> None:
        """Ask the conditions waited for; called by callbacks that may have made one true."""
        for wait in self._waiting:
            if wait.future.done():
                continue
            if wait.condition():
                wait.future.set_result(True)
            elif self.now > wait.deadline:
                wait.future.set_result(False)

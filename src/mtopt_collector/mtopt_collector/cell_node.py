"""What the nodes of one robot's cell share: the robot's name, the cell's configuration, waiting for messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.task import Future

from mtopt_core.configuration import CellConfiguration, load_cell
from mtopt_core.errors import ConfigurationError
from mtopt_node.node import Node
from mtopt_node.parameters import Parameter

CELL_FILE = Parameter('cell_file', '', "the cell's configuration; empty for the shipped config/cell.yaml")
DATA_FOLDER = Parameter('data_folder', 'data', 'folder of bags, labels and catalogue')


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
        self._waiting: list[tuple[Callable[[], bool], Future]] = []

    def activate(self) -> None:
        """Start working."""
        self.active = True

    def deactivate(self) -> None:
        """Stop working; the arm holds."""
        self.active = False

    @property
    def now(self) -> float:
        """Steady time, s."""
        return self.steady.now().nanoseconds / 1e9

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait, while other callbacks run, until messages have made a condition true.

        Args:
            condition: Asked at every `recheck`.
            timeout: s of wall time.

        Returns:
            Whether the condition became true in time.
        """
        if condition():
            return True
        future = Future()
        entry = (condition, future)
        self._waiting.append(entry)
        timer = self.create_timer(timeout, lambda: future.done() or future.set_result(False), clock=self.steady)
        try:
            return await future
        finally:
            self._waiting.remove(entry)
            self.destroy_timer(timer)

    def recheck(self) -> None:
        """Ask the conditions waited for; called by callbacks that may have made one true."""
        for condition, future in self._waiting:
            if condition():
                future.set_result(True)

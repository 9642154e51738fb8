"""The policy node: runs one episode's control per `RunPolicy` goal, with the newest policy that fits.

Usually it serves the robot of its namespace. Given the parameter `robots` it serves several, each under its own names
as if it were alone, and answers the decisions that fall together in one batch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from mtopt_core.checkpoint import CheckpointWatch
from mtopt_core.configuration import load_cell
from mtopt_core.errors import CheckpointError
from mtopt_core.tasks import load_tasks
from mtopt_node.conversions import model_version_to_message
from mtopt_node.node import OK, WARN, Node, run
from mtopt_node.parameters import Parameter
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.policies import SCRIPTED, choose_policy
from mtopt_policy.policy import Policy
from mtopt_policy.q_policy import QFunctionPolicy
from mtopt_policy.robot_control_node import Place, RobotControl
from mtopt_policy.scripted import ScriptedPolicy

WATCH_PERIOD = 2.0  # s between looks into the checkpoint folder


class PolicyNode(Node):
    """Loads checkpoints beside the running episodes; every robot's control is a `RobotControl`."""

    NAME = 'policy'
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter('robots', [''], "namespaces of the robots served; empty: that of the node's own"),
        Parameter(
            'cell_files', [''], 'the configuration of each of `robots`, in their order; empty: all have `cell_file`'
        ),
        Parameter('cell_file', '', "the cell's configuration; empty for the shipped config/cell.yaml"),
        Parameter('tasks_file', '', 'the task set; empty for the shipped config/tasks.yaml'),
        Parameter('checkpoints', 'data/models/policy', "folder of the policy's checkpoints; need not exist yet"),
        Parameter('action_space', 'eased', "the scripted policy's action space", choices=('eased', 'full')),
        Parameter('scripted_share', 0.5, 'probability of the scripted policy in a mixture', 0.0, 1.0),
        Parameter('threads', 1, 'CPU threads of a decision', 1, 64),
        Parameter('observation_timeout', 10.0, 's of wall time for a step and the observation after it', 0.1),
    )

    def __init__(self) -> None:
        super().__init__()
        self.taking_goals = False
        self._robots = tuple(name.strip('/') for name in self.value('robots') if name)
        # One thread per robot runs its episode, one loads checkpoints, the others take messages and cancels.
        self.THREADS = 3 + max(1, len(self._robots))
        self._controls: list[RobotControl] = []

    def configure(self) -> None:
        """Read the configuration, load the newest checkpoint, open topics and actions."""
        files = [file for file in self.value('cell_files') if file] or [self.value('cell_file')]
        self._tasks = load_tasks(self.value('tasks_file'))
        self._refused = ''
        self._watch = CheckpointWatch(Path(self.value('checkpoints')), self._load)
        names = self._robots or ('',)
        cells = [load_cell(Path(file) if file else None) for file in files]
        self._step = cells[0].step
        timeout = self.value('observation_timeout')
        self._controls = [
            RobotControl(self, self, Place(f'/{name}/' if name else '', cell, timeout))
            for name, cell in zip(names, cells if len(cells) == len(names) else cells[:1] * len(names), strict=True)
        ]
        self._refresh()
        steady, group = Clock(clock_type=ClockType.STEADY_TIME), MutuallyExclusiveCallbackGroup()
        self.create_timer(WATCH_PERIOD, self._refresh, callback_group=group, clock=steady)

    def activate(self) -> None:
        """Take goals."""
        self.taking_goals = True
        self.report_health()

    def deactivate(self) -> None:
        """Take no goals; episodes that run are aborted and the arms hold."""
        self.taking_goals = False

    def policy_for(self, name: str, exploration: float) -> Policy:
        """Return a policy for one episode; see `PolicySource`."""
        if name != SCRIPTED and self._watch.current is None:
            self._refresh()
        learned = self._watch.current
        make_space = ActionSpace.eased if self.value('action_space') == 'eased' else ActionSpace.full
        try:
            return choose_policy(
                name,
                ScriptedPolicy(self._tasks, make_space(self._step)),
                None if learned is None else learned.explorer(exploration),
                self.value('scripted_share'),
                self._tasks,
            )
        except CheckpointError as error:
            raise CheckpointError(f'{error}; {self._refused}'.rstrip('; ')) from None

    def report_health(self) -> None:
        """Report how the node is."""
        version = self._watch.current.model_version if self._watch.current else 'none'
        if self._refused:
            self.report(WARN, f'checkpoint refused, policy {version} stays: {self._refused}')
        else:
            self.report(OK, f'running with policy {version}')

    def _load(self, path: Path) -> QFunctionPolicy:
        return QFunctionPolicy.load(path, self._tasks, self.value('threads'), robots=max(1, len(self._robots)))

    def _refresh(self) -> None:
        """Load a newer checkpoint beside the running episodes; the next ones use it."""
        try:
            policy = self._watch.refresh()
        except CheckpointError as error:
            self._refused = str(error)
        else:
            if policy is None:
                return
            self._refused = ''
            path = Path(self.value('checkpoints')) / policy.manifest.version
            version = model_version_to_message(policy.manifest, path, self.get_clock().now().nanoseconds)
            for control in self._controls:
                control.announce(version)
        self.report_health()


def main() -> None:
    """Run the node."""
    sys.exit(run(PolicyNode))


if __name__ == '__main__':
    main()

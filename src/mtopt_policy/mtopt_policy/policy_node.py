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
from mtopt_core.configuration import StepConfiguration, load_cell
from mtopt_core.errors import CheckpointError, ConfigurationError
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
            'cell_files', [''], "each of `robots`' configuration, in their order; an empty one: that of `cell_file`"
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
        """Read the configuration, load the newest checkpoint, open topics and actions.

        Raises:
            ConfigurationError: There are not as many cell files as robots.
        """
        names = self._robots or ('',)
        files = self.value('cell_files')
        if not any(files):
            files = [''] * len(names)
        if len(files) != len(names):
            raise ConfigurationError(
                f'{len(files)} cell_files for {len(names)} robots; give one for each, an empty one for `cell_file`'
            )
        self._tasks = load_tasks(self.value('tasks_file'))
        self._refused = ''
        self._watch = CheckpointWatch(Path(self.value('checkpoints')), self._load)
        of_all = self.value('cell_file')
        cells = [load_cell(Path(file or of_all) if file or of_all else None) for file in files]
        self._cells = dict(zip(names, cells, strict=True))
        timeout = self.value('observation_timeout')
        self._controls = [
            RobotControl(self, self, Place(f'/{name}/' if name else '', cell, timeout))
            for name, cell in self._cells.items()
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

    def policy_for(self, name: str, exploration: float, step: StepConfiguration) -> Policy:
        """Return a policy for one episode; see `PolicySource`."""
        if name != SCRIPTED and self._watch.current is None:
            self._refresh()
        learned = self._watch.current
        make_space = ActionSpace.eased if self.value('action_space') == 'eased' else ActionSpace.full
        try:
            return choose_policy(
                name,
                ScriptedPolicy(self._tasks, make_space(step)),
                None if learned is None else learned.explorer(exploration),
                self.value('scripted_share'),
                self._tasks,
            )
        except CheckpointError as error:
            raise CheckpointError(f'{error}; {self._refused}'.rstrip('; ')) from None

    def report_health(self) -> None:
        """Report how the node is."""
        version = self._watch.current.model_version if self._watch.current else 'none'
        narrower = self._narrower()
        if self._refused:
            self.report(WARN, f'checkpoint refused, policy {version} stays: {self._refused}')
        elif narrower:
            self.report(WARN, f'policy {version} was trained for {narrower}; what is more is cut off')
        else:
            self.report(OK, f'running with policy {version}')

    def _narrower(self) -> str:
        """Return for which larger steps than a robot's cell allows the policy was trained, in words; empty for none."""
        if self._watch.current is None:
            return ''
        space = self._watch.current.manifest.action_space
        return ', '.join(
            f'{what} of {trained:g}, {name or self.get_namespace().strip("/") or "the robot"} allows {allowed:g}'
            for name, cell in self._cells.items()
            for what, trained, allowed in (
                ('max_displacement', space.max_displacement, cell.step.max_displacement),
                ('max_yaw_change', space.max_yaw_change, cell.step.max_yaw_change),
            )
            if trained > allowed
        )

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

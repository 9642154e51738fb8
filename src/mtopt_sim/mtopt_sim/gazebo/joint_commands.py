"""Commands to the joints of a model that have arrived when they have been given.

They travel apart from the order to step, over ign-transport, which acknowledges nothing: its subscriber is a thread
that may get no time on a busy machine, and waits a tenth of a second whenever a publisher is discovered. So the joint
controller is asked what it holds, and told again, until that is what it was told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtopt_sim.errors import SimulationError
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.ign_transport import IgnPublisher, IgnService
from mtopt_sim.gazebo.messages import Messages
from mtopt_sim.gazebo.server import Server

ANSWER_TIME = 0.5
"""s of wall time after which unanswered questions, and commands that have not arrived, are sent again."""
FIELDS = ('target_optional', 'p_gain_optional', 'i_gain_optional', 'd_gain_optional')


@dataclass(frozen=True)
class Gain:
    """How hard a joint is drawn to its target: proportional (N m/rad or N/m) and derivative gain."""

    proportional: float
    derivative: float = 0.0


class JointCommands:
    """The joints of one model in a running server.

    Args:
        server: The server.
        messages: ign-transport's message types.
        model: Name of the model.
        joints: Names of its joints.
    """

    def __init__(self, server: Server, messages: Messages, model: str, joints: Sequence[str]) -> None:
        self._server = server
        self._messages = messages
        self._model = model
        self._joints = joints
        self._publisher = IgnPublisher(server, messages, f'/{model}/joint_cmd', 'JointCmd')
        self._controller = IgnService(server, messages, f'/{model}/joint_cmd_req', 'StringMsg', 'JointCmd')

    def close(self) -> None:
        """Give no more commands."""
        self._publisher.close()
        self._controller.close()

    def connected(self, seconds: float) -> bool:
        """Wait so long for the model's joint controller to be there; return whether it is."""
        return self._publisher.subscribed and self._controller.found(seconds)

    def give(self, targets: Mapping[str, float], gains: Mapping[str, Gain] | None, timeout: float) -> None:
        """Draw joints to positions, in Gazebo's terms; the controller holds them when this returns.

        Args:
            targets: rad or m, by joint.
            gains: By joint; none leaves them as they are.
            timeout: s of wall time for them to arrive.

        Raises:
            SimulationError: There is no such joint; nothing is sent.
            TransportError: They do not arrive.
        """
        for joint in targets:
            if joint not in self._joints:
                raise SimulationError(f'the {self._model} has no joint {joint!r}; known: {", ".join(self._joints)}')
        open_commands = [self._command(joint, target, gains) for joint, target in targets.items()]
        deadline = time.monotonic() + timeout
        while open_commands:
            sent = time.monotonic()
            for command in open_commands:
                self._publisher.publish(command)
            # One that is only late need not be sent again: what is asked again may have arrived meanwhile.
            while open_commands and time.monotonic() < sent + ANSWER_TIME:
                questions = [self._messages.new('StringMsg', data=command.name) for command in open_commands]
                held = self._controller.ask(questions, ANSWER_TIME)
                pairs = zip(open_commands, held, strict=True)
                open_commands = [command for command, answer in pairs if answer is None or not _holds(answer, command)]
            if open_commands:
                self._server.check()
                if time.monotonic() > deadline:
                    names = ', '.join(command.name for command in open_commands)
                    raise TransportError(f'commands for {names} did not arrive within {timeout:g} s')

    def _command(self, joint: str, target: float, gains: Mapping[str, Gain] | None) -> Any:
        command = self._messages.new('JointCmd', name=f'{self._model}::{joint}')
        command.position.target_optional.data = target
        if gains is not None:
            command.position.p_gain_optional.data = gains[joint].proportional
            command.position.d_gain_optional.data = gains[joint].derivative
            command.position.i_gain_optional.data = 0.0
        return command


def _holds(answer: Any, command: Any) -> bool:
    """Return whether the controller holds what a command says, of a gain that is not a number too."""
    for field in FIELDS:
        if command.position.HasField(field):
            wanted, there = getattr(command.position, field).data, getattr(answer.position, field).data
            if not answer.position.HasField(field) or (wanted != there and not math.isnan(wanted)):
                return False
    return True

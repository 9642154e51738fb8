"""Where models and their links are, as of now.

After every step of the physics Gazebo tells in one message where everything is that can move, but it keeps no more than
ten messages for a thread that sends them, and throws the oldest away. As a paused server goes on to tell the time, 2500
times a second, the places at the end of a series of steps are lost whenever that thread gets no time for 4 ms: on two
cores of which one was busy, after every eighth series. Then each model is asked for by itself. Such questions are
answered five times a second, which is why they are not all that is done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtopt_sim.gazebo.classic_transport import ClassicTransport
from mtopt_sim.gazebo.messages import Messages
from mtopt_sim.gazebo.poses import from_quaternion, pose_of

ANSWER_TIMEOUT = 60.0
"""s of wall time, on a machine that is busy with other things."""


class Places:
    """Follows everything in the world.

    Args:
        transport: Connection to the server.
        messages: Gazebo's message types.
        models: Names of the models; the first of them can move, so it is told of at every step.

    Attributes:
        time: Simulated time that has been told, ns.
    """

    def __init__(self, transport: ClassicTransport, messages: Messages, models: Sequence[str]) -> None:
        self.time = 0
        self._transport = transport
        self._messages = messages
        self._models = models
        self._poses: dict[str, Any] = {}
        self._poses_before: dict[str, Any] = {}
        self._told = self._told_before = 0
        self._asked = 0
        self._feed = transport.feed('pose/local/info', 'PosesStamped')
        self._answers = transport.feed('response', 'Response')
        self._ask = transport.advertise('request', 'Request')

    @property
    def published(self) -> bool:
        """Whether the server tells of them, and answers."""
        return self._feed.published and self._answers.published and self._transport.subscribed('request')

    @property
    def interval(self) -> float:
        """Time between the last two places that are known, s."""
        self._see_that_all_are_of_now()
        return (self._told - self._told_before) / 1e9

    def follow(self) -> int:
        """Take in what has been told; return the time of it, ns."""
        while self._feed.received:
            message = self._messages.parse('PosesStamped', self._feed.received.popleft())
            stamp = nanoseconds(message.time)
            self.time = max(self.time, stamp)
            told = {pose.name: pose for pose in message.pose}
            if self._models[0] in told:
                self._move_on(stamp)
            self._poses.update(told)
        return self.time

    def pose(self, name: str, before: bool = False) -> np.ndarray | None:
        """Return where something is, `(4, 4)`: a model in the world's frame, a link in its model's.

        Args:
            name: `model` or `model::link`.
            before: Where it was an `interval` ago.

        Returns:
            None for what has not moved since the server started.

        Raises:
            TransportError: The server does not tell.
        """
        self._see_that_all_are_of_now()
        told = (self._poses_before if before else self._poses).get(name)
        return None if told is None else _pose_matrix(told)

    def _move_on(self, stamp: int) -> None:
        if stamp > self._told:
            self._poses_before.update(self._poses)
            self._told_before, self._told = self._told, stamp

    def _see_that_all_are_of_now(self) -> None:
        """Ask for every model where what was told last is not of now."""
        if self._told >= self.time:
            return
        first = self._asked
        self._asked += len(self._models)
        for number, model in enumerate(self._models, first):
            self._ask(self._messages.new('Request', id=number, request='entity_info', data=model))
        missing = set(range(first, self._asked))
        told: dict[str, Any] = {}

        def all_answered() -> bool:
            while self._answers.received:
                answer = self._messages.parse('Response', self._answers.received.popleft())
                missing.discard(answer.id)
                if answer.type == 'gazebo.msgs.Model':
                    model = self._messages.parse('Model', answer.serialized_data)
                    told.update({link.name: link.pose for link in model.link} | {model.name: model.pose})
            return not missing

        deadline = time.monotonic() + ANSWER_TIMEOUT
        self._transport.wait_for(all_answered, deadline, 'Gazebo does not tell where things are')
        self._move_on(self.time)
        self._poses.update(told)


def nanoseconds(stamp: Any) -> int:
    """Return a time of Gazebo's in ns."""
    return int(stamp.sec * 1_000_000_000 + stamp.nsec)


def _pose_matrix(message: Any) -> np.ndarray:
    position, turn = message.position, message.orientation
    return pose_of((position.x, position.y, position.z), from_quaternion(turn.w, turn.x, turn.y, turn.z))

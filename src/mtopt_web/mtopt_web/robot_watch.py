"""What the robots are doing, as they say it themselves. Any thread may tell and ask."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtopt_core.errors import MtoptError

HOUR = 3600.0
SILENT = 5.0
"""s without a word after which a node is taken for gone."""

Command = Callable[[str, str], str]
"""Tells a robot's collector something, and returns its answer."""


class CommandError(MtoptError):
    """A robot cannot be told anything."""


@dataclass(frozen=True)
class TaskPractice:
    """How far one task has come, fields as in mtopt_msgs/TaskPractice."""

    task: str
    chance: float
    at_parity: bool
    sources: str
    attempts: int
    learned: int
    learned_successes: int
    others: int
    other_successes: int
    difference_low: float
    difference_high: float


@dataclass(frozen=True)
class Status:
    """What a collector said last, fields as in mtopt_msgs/CollectorStatus; `state` in words."""

    state: str
    task: str
    policy: str
    exploration: float
    episode_id: str
    episodes: int
    successes: int
    message: str
    practice: tuple[TaskPractice, ...] = ()


@dataclass
class _Robot:
    status: Status | None = None
    help: str = ''
    pictures: tuple[bytes, ...] = ()
    decisions: list[float | None] = field(default_factory=list)
    decided_in: str = ''
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=20_000))
    since: float = field(default_factory=time.monotonic)


class RobotWatch:
    """The newest of every robot.

    Attributes:
        command: Set by whoever can reach the robots.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._robots: dict[str, _Robot] = {}
        self._faults: dict[str, tuple[str, str, float]] = {}
        self.command: Command | None = None

    def found(self, robots: Sequence[str]) -> None:
        """Tell which robots there are. Those that are gone stay, as silent: nobody else would say that they died."""
        with self._lock:
            for name in robots:
                self._robots.setdefault(name, _Robot())

    def tell_status(self, robot: str, status: Status) -> None:
        """Take in what a collector says."""
        with self._lock:
            one = self._robots.setdefault(robot, _Robot())
            if one.status is not None and status.episodes > one.status.episodes:
                one.ends.append(time.monotonic())
            one.status = status

    def tell_decision(self, robot: str, episode_id: str, step: int, q_value: float) -> None:
        """Take in an action's Q-value; NaN where no Q-function was asked."""
        with self._lock:
            one = self._robots.setdefault(robot, _Robot())
            if one.decided_in != episode_id:
                one.decided_in, one.decisions = episode_id, []
            # A page that is opened in the middle of an episode has not heard its beginning.
            one.decisions += [None] * (step - len(one.decisions))
            one.decisions[step:] = [q_value if math.isfinite(q_value) else None]

    def tell_help(self, robot: str, message: str, pictures: Sequence[bytes]) -> None:
        """Take in that a person is called, and what the cameras saw; an empty message: nobody is needed."""
        with self._lock:
            one = self._robots.setdefault(robot, _Robot())
            one.help, one.pictures = message, tuple(pictures)

    def tell_health(self, node: str, level: str, message: str) -> None:
        """Take in a node's health; `level` is `ok`, `warning` or `error`."""
        with self._lock:
            self._faults[node] = (level, message, time.monotonic())

    def help_picture(self, robot: str, number: int) -> bytes | None:
        """Return a picture that came with a robot's call for a person."""
        with self._lock:
            pictures = self._robots[robot].pictures if robot in self._robots else ()
            return pictures[number] if 0 <= number < len(pictures) else None

    def tell(self, robot: str, what: str) -> str:
        """Tell a robot's collector `pause`, `resume`, `skip` or `reset`, and return its answer.

        Raises:
            CommandError: There is no such robot, it does not know the word, or it does not answer.
        """
        with self._lock:
            known = tuple(self._robots)
        if robot not in known:
            raise CommandError(f'there is no robot {robot!r}; there are {", ".join(known) or "none"}')
        if what not in ('pause', 'resume', 'skip', 'reset'):
            raise CommandError(f'a robot does not know {what!r}')
        if self.command is None:
            raise CommandError('this page is not connected to the robots')
        return self.command(robot, what)

    def told(self) -> list[dict[str, Any]]:
        """Return everything a page shows of every robot, for JSON."""
        with self._lock:
            now = time.monotonic()
            return [self._told(name, one, now) for name, one in sorted(self._robots.items())]

    def _told(self, name: str, one: _Robot, now: float) -> dict[str, Any]:
        status = one.status
        silent = self._is_silent(f'/{name}/collector', now)
        needs = status.message if status and status.state == 'needs a person' else ''
        seen = min(HOUR, now - one.since)
        recent = sum(now - end < HOUR for end in one.ends)
        return {
            'robot': name,
            'state': 'silent' if silent or status is None else status.state,
            'task': status.task if status else '',
            'policy': status.policy if status else '',
            'exploration': status.exploration if status else 0.0,
            'episode': status.episode_id if status else '',
            'episodes': status.episodes if status else 0,
            'successes': status.successes if status else 0,
            'message': status.message if status else '',
            'per_hour': recent * HOUR / seen if recent and seen > 0 else None,
            'q': one.decisions,
            'help': '' if silent else one.help or needs,
            'pictures': len(one.pictures),
            'faults': self._faults_of(name, now),
        }

    def _faults_of(self, robot: str, now: float) -> list[dict[str, str]]:
        own = {node: told for node, told in self._faults.items() if _belongs(node, robot)}
        faults = [
            {'node': node, 'level': level, 'message': message}
            for node, (level, message, heard) in own.items()
            if level != 'ok' and now - heard < SILENT
        ]
        silent = [
            {'node': node, 'level': 'error', 'message': f'silent for {now - heard:.0f} s: it was stopped, or hangs'}
            for node, (_, _, heard) in own.items()
            if now - heard >= SILENT
        ]
        return faults + silent

    def _is_silent(self, node: str, now: float) -> bool:
        """Return whether a node told its health before and does no more."""
        return node in self._faults and now - self._faults[node][2] >= SILENT

    def practice(self) -> Mapping[str, tuple[TaskPractice, ...]]:
        """Return how far every task has come, by robot; robots without a curriculum are left out."""
        with self._lock:
            return {
                name: one.status.practice
                for name, one in sorted(self._robots.items())
                if one.status is not None and one.status.practice
            }


def _belongs(node: str, robot: str) -> bool:
    """Return whether a node is a robot's, or serves all."""
    return node.startswith((f'/{robot}/', '/machine/'))

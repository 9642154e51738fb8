"""Brings nodes back: one that ended is started again, one that gives no sign of life is killed and started again.

Not without end: a node that dies again and again is given up, with its log's last lines for whoever has to look.
"""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import suppress

from mtopt_bringup.graph import NodeSpec
from mtopt_bringup.launcher import Launcher, NodeDiedError, RunningNode, tail
from mtopt_core.heartbeats import Heartbeats

RESPAWNS, WINDOW = 6, 120.0  # so often within so many s
START_TIMEOUT = 60.0  # s from a node's start to its first sign of life, on a machine that is busy starting them all


class Supervisor:
    """Watches over a launcher's nodes.

    Attributes:
        respawned: Nodes started again so far, by full name.
        given_up: Why, by full name of the node.

    Args:
        launcher: Has started them.
        heartbeats: Hears them.
        now: Steady time, s.
    """

    def __init__(self, launcher: Launcher, heartbeats: Heartbeats, now: float) -> None:
        self._launcher = launcher
        self._heartbeats = heartbeats
        self._started: dict[str, float] = {node.spec.full_name: now for node in launcher.nodes}
        self._deaths: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RESPAWNS))
        self.respawned: defaultdict[str, int] = defaultdict(int)
        self.given_up: dict[str, str] = {}

    def tend(self, now: float) -> list[str]:
        """Look after every node once.

        Returns:
            What had to be done, in words.

        Raises:
            NodeDiedError: A node ended that has never given a sign of life: what it was told is wrong, and starting it
                again changes nothing; or some node of every robot has been given up.
        """
        told = []
        for node in self._launcher.nodes:
            if node.spec.full_name in self.given_up:
                continue
            matter = self._matter(node, now)
            if matter:
                told.append(self._bring_back(node, matter, now))
        nodes = self._launcher.nodes
        robots = {node.spec.namespace for node in nodes if node.spec.leads} or {node.spec.namespace for node in nodes}
        lame = {node.spec.namespace for node in nodes if node.spec.full_name in self.given_up}
        if robots <= lame:
            raise NodeDiedError('\n'.join(self.given_up.values()))
        return told

    def _matter(self, node: RunningNode, now: float) -> str:
        """Return what is the matter with a node, empty for nothing."""
        name, status = node.spec.full_name, node.process.poll()
        life = self._heartbeats.heard(name)
        alive = life is not None and life.pid == node.process.pid
        if status is not None:
            if life is None and status > 0:
                raise NodeDiedError(_obituary(node, f'ended with status {status}'))
            return f'ended with status {status}'
        if alive:
            return self._heartbeats.silent([name], now)
        if now - self._started[name] > START_TIMEOUT:
            return f'gave no sign of life within {START_TIMEOUT:g} s of its start'
        return ''

    def _bring_back(self, node: RunningNode, matter: str, now: float) -> str:
        name = node.spec.full_name
        deaths = self._deaths[name]
        if len(deaths) == RESPAWNS and now - deaths[0] < WINDOW:
            self._launcher.kill(node)
            self.given_up[name] = _obituary(node, f'{matter}, {RESPAWNS + 1} times within {WINDOW:g} s; given up')
            return self.given_up[name]
        deaths.append(now)
        self.respawned[name] += 1
        # On a full disk the robots wait for room; a line that finds none must not stop them.
        with suppress(OSError), node.log.open('a') as log:
            log.write(f'started again, for it {matter}\n')
        self._launcher.respawn(node)
        self._started[name] = now
        return f'started {name} again, for it {matter}'


def silences(specs: tuple[NodeSpec, ...] | list[NodeSpec]) -> dict[str, float]:
    """Return after how many s of silence each node is taken for frozen, by full name."""
    return {spec.full_name: spec.silence for spec in specs}


def _obituary(node: RunningNode, matter: str) -> str:
    return f'node {node.spec.full_name} {matter}; its log is {node.log}:\n{tail(node.log)}'

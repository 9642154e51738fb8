"""Which nodes are alive, by the diagnostics every node publishes twice a second.

DDS itself notices a killed node only when its lease runs out, and a frozen one, or one whose callbacks hang, not at all
while its own threads still run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

# Keys of the diagnostics' values: why nothing can be collected because of the node; its process.
BLOCKED, PID = 'blocked', 'pid'


@dataclass(frozen=True)
class Life:
    """A node's last sign of life.

    Attributes:
        pid: Its process.
        at: Steady time it was heard at, s.
        blocked: Why nothing can be collected because of it; empty while it can.
    """

    pid: int
    at: float
    blocked: str


class Heartbeats:
    """Follows the signs of life of some nodes.

    Args:
        silence: s without a sign of life after which a node is taken for dead or frozen, by full name.
    """

    def __init__(self, silence: Mapping[str, float]) -> None:
        self._silence = dict(silence)
        self._lives: dict[str, Life] = {}

    def hear(self, name: str, values: Iterable[tuple[str, str]], now: float) -> None:
        """Take a node's diagnostics; those of other nodes do not matter.

        Args:
            name: The node's full name.
            values: Key and value of its figures.
            now: Steady time, s.
        """
        if name in self._silence:
            found = dict(values)
            pid = found.get(PID, '')
            self._lives[name] = Life(int(pid) if pid.isdigit() else 0, now, found.get(BLOCKED, ''))

    def heard(self, name: str) -> Life | None:
        """Return a node's last sign of life, None before the first."""
        return self._lives.get(name)

    def pids(self, names: Iterable[str]) -> dict[str, int]:
        """Return the processes of those nodes that were heard."""
        return {name: self._lives[name].pid for name in names if name in self._lives}

    def silent(self, names: Collection[str], now: float) -> str:
        """Return which of some nodes is silent, in words; empty when all are alive."""
        for name in names:
            life = self._lives.get(name)
            if life is None:
                return f'{name} has not been heard yet; is it running?'
            if now - life.at > self._silence[name]:
                return f'{name} has been silent for {self._silence[name]:g} s: it was killed, or hangs'
        return ''

    def replaced(self, pids: Mapping[str, int]) -> str:
        """Return which node was started anew since `pids` was taken, in words; empty for none."""
        for name, pid in pids.items():
            if self._lives[name].pid != pid:
                return f'{name} was started anew meanwhile'
        return ''

    def blocked(self, names: Iterable[str]) -> str:
        """Return why nothing can be collected because of some nodes; empty when it can."""
        reasons = [f'{name}: {self._lives[name].blocked}' for name in names if name in self._lives]
        return next((reason for reason in reasons if not reason.endswith(': ')), '')

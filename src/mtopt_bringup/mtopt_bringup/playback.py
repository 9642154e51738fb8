"""When each message of a bag is due again, and how well that was kept."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mtopt_collector.episode_recorder import TRAJECTORY
from mtopt_core.bag import BagMessage, BagReader

EMERGENCY_STOP = 'emergency_stop'


@dataclass(frozen=True)
class Due:
    """A message and when it is due, s after the start."""

    seconds: float
    message: BagMessage


def harmless(topics: Mapping[str, str]) -> dict[str, str]:
    """Return those of a bag's topics, with their types, that command nobody.

    A controller carries out a trajectory of any age, past every limit of the arm controller, and an emergency stop
    latches.
    """
    return {
        topic: type_name
        for topic, type_name in topics.items()
        if type_name != TRAJECTORY and topic.rpartition('/')[2] != EMERGENCY_STOP
    }


def schedule(bag: BagReader, rate: float) -> Iterator[Due]:
    """Yield a bag's messages in their order, as far apart as they were recorded, but for commands.

    Args:
        bag: The bag, open.
        rate: How many times as fast.

    Raises:
        BagError: The bag is damaged.
    """
    first: int | None = None
    for message in bag.messages(harmless(bag.topics)):
        first = message.stamp if first is None else first
        yield Due((message.stamp - first) * 1e-9 / rate, message)


@dataclass
class Punctuality:
    """How late messages were published, s after they were due."""

    delays: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """Tell median and worst."""
        if not self.delays:
            return 'nothing was published'
        return (
            f'{len(self.delays)} messages, {1e3 * statistics.median(self.delays):.1f} ms late in the median, '
            f'{1e3 * max(self.delays):.1f} ms at worst'
        )

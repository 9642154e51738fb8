"""`mtopt replay`: recorded episodes on their topics again, in time; unlike `ros2 bag play` it commands no robot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mtopt_bringup.interruption import Interruption
from mtopt_bringup.plain_node import plain_node
from mtopt_bringup.playback import Due, Punctuality, harmless, schedule
from mtopt_core.bag import BagReader
from mtopt_core.episode_bag import LATCHED_TOPICS
from mtopt_core.errors import BagError, MtoptError
from mtopt_node.discovery import node_names
from mtopt_node.qos import EVENTS, LATCHED, OBSERVATIONS

DISCOVERY = 3.0
"""s that subscribers are given to find the topics before the first message."""
SETTLE = 0.5
"""s in which no more of them does, once the first has."""
NAP = 0.05
"""s; the longest sleep, so that Ctrl-C is noticed."""


class RobotThereError(MtoptError):
    """A robot of a bag's name is there: what it was once would be taken for what it is now."""


def replay(
    bags: Annotated[
        list[Path],
        typer.Argument(help='Bags to play one after another.', exists=True, file_okay=False, metavar='BAG...'),
    ],
    rate: Annotated[float, typer.Option(help='How many times as fast as recorded.', min=0.01, max=100)] = 1.0,
    loop: Annotated[bool, typer.Option('--loop', help='Begin again at the end, until Ctrl-C.')] = False,
) -> None:
    """Publish recorded episodes on the topics they were recorded from, as far apart in time.

    The page, the success detector's node and Foxglove then see an old episode as if it happened now. Messages are
    published as they are, with the stamps they had. What commands an arm is left out: trajectories, and the emergency
    stop. `ros2 bag play BAG`, in a ROS installation, publishes those too: A REAL ARM CARRIES THEM OUT.
    """
    with Interruption() as interruption, plain_node('replay') as node, _display() as show:
        player = _Player(node, lambda: interruption.requested)
        for path in bags:  # whatever is wrong with a later one is told before the first is played
            player.announce(path)
        player.wait_for_subscribers()
        while True:
            for path in bags:
                player.play(path, rate, lambda due, path=path: show(path, due))  # type: ignore[misc]
            if not loop or interruption.requested:
                break
    print(player.punctuality)


class _Player:
    """Publishes the messages of bags.

    Args:
        node: Whose publishers they are.
        stopped: Asked now and then whether to end.
    """

    def __init__(self, node: Node, stopped: Callable[[], bool]) -> None:
        self.punctuality = Punctuality()
        self._node = node
        self._stopped = stopped
        self._publishers: dict[str, tuple[str, Publisher]] = {}

    def announce(self, path: Path) -> None:
        """Make the publishers of a bag's topics.

        Raises:
            BagError: The bag cannot be read, or a message type is not installed or other than in a bag before.
        """
        with BagReader(path) as bag:
            for topic, type_name in harmless(bag.topics).items():
                known, _ = self._publishers.get(topic, (type_name, None))
                if known != type_name:
                    raise BagError(
                        f'bag {path}: {topic} is {type_name} here and {known} in a bag before; play one alone'
                    )
                if topic not in self._publishers:
                    publisher = self._node.create_publisher(_class(path, type_name), topic, _quality(topic))
                    self._publishers[topic] = type_name, publisher

    def wait_for_subscribers(self) -> None:
        """Give subscribers time to find the topics: what nobody has subscribed to yet is lost."""
        deadline = time.monotonic() + DISCOVERY
        found, since = 0, time.monotonic()
        while time.monotonic() < deadline and not self._stopped():
            now = sum(publisher.get_subscription_count() for _, publisher in self._publishers.values())
            if now != found:
                found, since = now, time.monotonic()
            elif found and time.monotonic() - since > SETTLE:
                return
            time.sleep(NAP)

    def play(self, path: Path, rate: float, on_message: Callable[[Due], None]) -> None:
        """Publish a bag.

        Raises:
            BagError: The bag is damaged.
            RobotThereError: A robot of that name is there.
        """
        start = time.monotonic()
        with BagReader(path) as bag:
            for due in schedule(bag, rate):
                self._require_no_robot()
                while (rest := start + due.seconds - time.monotonic()) > 0:
                    if self._stopped():
                        return
                    time.sleep(min(rest, NAP))
                _, publisher = self._publishers[due.message.topic]
                publisher.publish(due.message.cdr)
                self.punctuality.delays.append(time.monotonic() - start - due.seconds)
                on_message(due)

    def _require_no_robot(self) -> None:
        """See that nobody else says where the joints of a bag's robot are.

        Raises:
            RobotThereError: Somebody does.
        """
        for topic in {f'/{topic.split("/")[1]}/joint_states' for topic in self._publishers}:
            if self._node.count_publishers(topic) > (topic in self._publishers):
                found = node_names(self._node.get_publishers_info_by_topic(topic))
                others = ', '.join(sorted(found - {self._node.get_fully_qualified_name()})) or 'another replay'
                raise RobotThereError(
                    f'{others} publishes {topic} in ROS domain {self._node.context.get_domain_id()}: nothing is played '
                    'beside a robot of the same name. Stop it, or choose another ROS_DOMAIN_ID for this command and '
                    'whoever is to see the episode'
                )


def _class(path: Path, type_name: str) -> Any:
    """Return rclpy's class of a message type.

    Raises:
        BagError: It is not installed.
    """
    package, _, rest = type_name.partition('/')
    kind, _, name = rest.partition('/')
    try:
        return getattr(import_module(f'{package}.{kind}'), name)
    except (ImportError, AttributeError, ValueError):
        raise BagError(
            f'bag {path}: message type {type_name} is not installed; source the workspace that has it'
        ) from None


def _quality(topic: str) -> QoSProfile:
    """Return the quality with which the graph publishes a topic."""
    name = topic.split('/', 2)[-1]
    if name in LATCHED_TOPICS or name == 'status':
        return LATCHED
    return OBSERVATIONS if name == 'observation' or name.startswith('cameras/') else EVENTS


@contextmanager
def _display() -> Iterator[Callable[[Path, Due], None]]:
    """Show the episode that is played and how far it is."""
    columns = TextColumn('{task.description}'), BarColumn(), TextColumn('{task.fields[at]:.1f} s'), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task('waiting for subscribers', total=None, at=0.0)
        yield lambda path, due: bar.update(task, description=path.name, at=due.seconds)

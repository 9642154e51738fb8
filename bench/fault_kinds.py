"""What can happen to a cell, each a context that breaks something and mends it again."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosgraph_msgs.msg import Clock
from witness import Witness

from mtopt_bringup.launcher import Launcher
from mtopt_core.checkpoint import new_version
from mtopt_core.episode import Action, new_episode_id
from mtopt_core.episode_bag import episode_ids
from mtopt_core.paths import DataFolder
from mtopt_msgs import msg
from mtopt_node.conversions import action_to_message, time_of
from mtopt_node.qos import COMMANDS

Fault = Callable[[], AbstractContextManager[None]]
LASTING = 6.0  # s that what is not over at once lasts
RATE = 20.0  # Hz, of wrong messages


@dataclass(frozen=True)
class Cell:
    """What the faults get hold of.

    Attributes:
        launcher: The graph's processes.
        witness: Its node publishes what is wrong.
        relay: The cameras' process.
        data: Data folder.
        policies: Folder of the policy's checkpoints.
        tend: Watches over the graph for so many s while a fault lasts.
    """

    launcher: Launcher
    witness: Witness
    relay: subprocess.Popen[bytes]
    data: DataFolder
    policies: Path
    tend: Callable[[float], None]

    def spoil(self, command: str) -> None:
        """Tell the cameras how to behave."""
        assert self.relay.stdin is not None, 'opened as a pipe'
        self.relay.stdin.write(f'{command}\n'.encode())
        self.relay.stdin.flush()


def all_faults(cell: Cell, small_disk: bool) -> dict[str, Fault]:
    """Return every fault by name.

    Args:
        cell: What they happen to.
        small_disk: The data folder is a disk of its own, that may be filled.
    """
    nodes = [node.spec.name for node in cell.launcher.nodes]
    faults: dict[str, Fault] = {
        **{f'kill -9 {name}': lambda name=name: _signal(cell, name, signal.SIGKILL) for name in nodes},  # type: ignore[misc]
        **{f'freeze {name}': lambda name=name: _signal(cell, name, signal.SIGSTOP) for name in nodes},  # type: ignore[misc]
        'frozen camera': lambda: _camera(cell, 'freeze main'),
        'black camera': lambda: _camera(cell, 'black wrist'),
        'truncated bag': lambda: _truncated_bag(cell),
        'corrupt checkpoint': lambda: _corrupt_checkpoint(cell),
        'wrong actions': lambda: _wrong_actions(cell),
        '/clock stepping': lambda: _stepping_clock(cell),
    }
    if small_disk:
        faults['disk full'] = lambda: _full_disk(cell)
    return faults


@contextlib.contextmanager
def _signal(cell: Cell, name: str, number: signal.Signals) -> Iterator[None]:
    process = next(node.process for node in cell.launcher.nodes if node.spec.name == name)
    os.killpg(process.pid, number)
    yield


@contextlib.contextmanager
def _camera(cell: Cell, command: str) -> Iterator[None]:
    cell.spoil(command)
    cell.tend(LASTING)
    cell.spoil('heal')
    yield


@contextlib.contextmanager
def _truncated_bag(cell: Cell) -> Iterator[None]:
    whole = cell.data.bags / episode_ids(cell.data.bags)[-1]
    name = new_episode_id('truncated')
    copy = cell.data.bags / f'.{name}.copy'
    shutil.copytree(whole, copy)
    file = next(copy.glob('*.mcap'))
    os.truncate(file, file.stat().st_size // 2)
    file.rename(copy / f'{name}_0.mcap')
    copy.rename(cell.data.bags / name)
    yield


@contextlib.contextmanager
def _corrupt_checkpoint(cell: Cell) -> Iterator[None]:
    whole = sorted(path for path in cell.policies.iterdir() if path.is_dir())[0]
    copy = cell.policies / new_version(10**6)
    shutil.copytree(whole, cell.policies / '.copy')
    weights = cell.policies / '.copy' / 'weights.safetensors'
    os.truncate(weights, weights.stat().st_size // 2)
    (cell.policies / '.copy').rename(copy)
    yield
    shutil.rmtree(copy)


@contextlib.contextmanager
def _full_disk(cell: Cell) -> Iterator[None]:
    ballast = cell.data.root / 'ballast'
    try:
        with ballast.open('wb') as file:
            block = bytes(1 << 20)
            while True:
                file.write(block)
                file.flush()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    cell.tend(LASTING)
    ballast.unlink()
    yield


@contextlib.contextmanager
def _wrong_actions(cell: Cell) -> Iterator[None]:
    """Actions that are not finite, huge, of the running episode or of none, old and of the future."""
    rng, node = np.random.default_rng(), cell.witness.node
    publisher = node.create_publisher(msg.Action, 'action', COMMANDS)
    values = [math.nan, math.inf, -math.inf, 1e30, -5.0, 0.1, 0.0]
    end = time.monotonic() + LASTING
    number = 0
    while time.monotonic() < end:
        draw = rng.choice(values, 4)
        action = Action(draw[:3], float(draw[3]), bool(rng.random() < 0.3), bool(rng.random() < 0.3))
        episode_id = cell.witness.episode_id if rng.random() < 0.3 else 'nobody'
        stamp = int(rng.choice([0, 10**9, 10**12, 2 * 10**18]))
        publisher.publish(action_to_message(action, stamp, episode_id, number))
        number += 1
        cell.tend(1 / RATE)
    node.destroy_publisher(publisher)
    yield


@contextlib.contextmanager
def _stepping_clock(cell: Cell) -> Iterator[None]:
    rng, node = np.random.default_rng(), cell.witness.node
    publisher = node.create_publisher(Clock, '/clock', COMMANDS)
    end = time.monotonic() + LASTING
    while time.monotonic() < end:
        publisher.publish(Clock(clock=time_of(int(rng.integers(0, 2 * 10**18)))))
        cell.tend(1 / RATE)
    node.destroy_publisher(publisher)
    yield

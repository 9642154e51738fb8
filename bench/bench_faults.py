"""Does collection survive whatever breaks? A random fault every 20 s, in the whole graph over real DDS.

Every node is killed and frozen in turn; a camera freezes or turns black, the disk fills up, a bag is cut off, a
checkpoint is corrupt, actions are not finite, `/clock` jumps. Wanted each time: the arm works again within 10 s at an
episode that is then finished, counted from the fault, or from its end where it lasts. And in the end: every episode
that the recorder called finished can be read, no bag that cannot is in the catalogue, and no command beyond a limit has
reached the arm, which a witness outside of all nodes recorded.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
import yaml
from fault_kinds import LASTING, Cell, all_faults
from measuring import load
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from witness import Witness

from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.launcher import Launcher
from mtopt_bringup.run_node import StatusListener
from mtopt_bringup.supervisor import Supervisor, silences
from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CAMERAS, load_cell
from mtopt_core.environment import free_domain, prepare
from mtopt_core.episode_bag import read_episode
from mtopt_core.errors import BagError
from mtopt_core.paths import DataFolder, shipped

ROBOT = 'robot1'
LIMIT = 10.0  # s until collection must be back
PATIENCE = 60.0  # s after which a fault is taken for fatal
START_TIMEOUT = 120.0
DISK_MEGABYTES = 1500
LOOK_PERIOD = 0.1


@dataclass
class Recoveries:
    """How long collection took to be back, s, by fault; infinite where it was not within `PATIENCE`."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def table(self) -> Table:
        """Return one row per fault."""
        table = Table('fault', 'times', 'back after, median', 'worst', f'within {LIMIT:g} s', title='recovery')
        for name, seconds in sorted(self.seconds.items()):
            within = sum(one <= LIMIT for one in seconds)
            median, worst = statistics.median(seconds), max(seconds)
            table.add_row(name, str(len(seconds)), f'{median:.1f} s', f'{worst:.1f} s', f'{within} of {len(seconds)}')
        return table

    @property
    def late(self) -> int:
        """Faults after which collection was not back in time."""
        return sum(one > LIMIT for seconds in self.seconds.values() for one in seconds)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder a disk of its own, where this user may; tells whether it is one."""
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', f'size={DISK_MEGABYTES}m', 'tmpfs', str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(['umount', '--lazy', str(folder)], check=True)


def main(
    minutes: Annotated[float, typer.Option(help='How long.')] = 30.0,
    every: Annotated[float, typer.Option(help='s from one fault to the next.')] = 20.0,
    seed: Annotated[int, typer.Option(help='Of the order of faults.')] = 0,
    only: Annotated[str, typer.Option(help='Faults whose name contains this, and no others.')] = '',
    keep: Annotated[Path | None, typer.Option(help="Folder for the nodes' logs; thrown away by default.")] = None,
) -> None:
    """Let faults happen and print how collection came back."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
    prepare()
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder, 'data')) as mounted:
        data, models = DataFolder(Path(folder, 'data')), Path(folder, 'models')
        shutil.copytree(shipped('models', 'policy'), models / 'policy')
        cell_file = Path(folder, 'cell.yaml')
        configuration = yaml.safe_load(shipped('config', 'cell.yaml').read_text())
        configuration['cameras'] = {name: {'topic': f'spoilt/{name}/image'} for name in CAMERAS}
        cell_file.write_text(yaml.safe_dump(configuration))
        options = GraphOptions(
            simulator=Simulator.MUJOCO,
            data=data.root,
            models=str(models),
            policy='mixture',
            grade_with='detector',
            image_size=64,
            spares=True,
            cell_file=str(cell_file),
        )
        specs = graph(options)
        logs = keep or Path(folder, 'log')
        with (
            Launcher(specs, logs, os.environ) as launcher,
            StatusListener([ROBOT], silences(specs)) as statuses,
            Witness(ROBOT, load_cell(cell_file)) as witness,
            _relay() as relay,
        ):
            supervisor = Supervisor(launcher, statuses.heartbeats, time.monotonic())

            def tend(seconds: float) -> None:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    statuses.listen(min(LOOK_PERIOD, max(0.0, end - time.monotonic())))
                    supervisor.tend(time.monotonic())

            cell = Cell(launcher, witness, relay, data, models / 'policy', tend)
            recoveries = _run(cell, mounted, minutes, every, seed, only)
            respawned = dict(supervisor.respawned)
        _report(recoveries, witness, data, respawned, mounted)


@contextlib.contextmanager
def _relay() -> Iterator[subprocess.Popen[bytes]]:
    script = Path(__file__).with_name('camera_relay.py')
    with subprocess.Popen([sys.executable, str(script), f'/{ROBOT}'], stdin=subprocess.PIPE) as relay:
        yield relay
        assert relay.stdin is not None, 'opened as a pipe'
        relay.stdin.close()


def _run(cell: Cell, mounted: bool, minutes: float, every: float, seed: int, only: str) -> Recoveries:
    rng, recoveries = random.Random(seed), Recoveries()
    faults = {name: fault for name, fault in all_faults(cell, mounted).items() if only in name}
    deck: list[str] = []
    _until_back(cell, time.monotonic(), START_TIMEOUT)
    start = time.monotonic()
    with Progress(transient=True) as progress:
        bar = progress.add_task('', total=60 * minutes)
        while time.monotonic() - start < 60 * minutes:
            began = time.monotonic()
            if not deck:
                deck = sorted(faults)
                rng.shuffle(deck)
            name = deck.pop()
            progress.update(bar, description=name, completed=began - start)
            with faults[name]():
                seconds = _until_back(cell, time.monotonic(), PATIENCE)
            recoveries.seconds[name].append(seconds)
            progress.print(f'{time.strftime("%H:%M:%S", time.gmtime())}  {name}: back after {seconds:.1f} s')
            cell.tend(max(0.0, began + every - time.monotonic()))
    # What runs now shall not count as lost because this is the end.
    return recoveries


def _until_back(cell: Cell, since: float, patience: float) -> float:
    """Return the s from `since` to the first step of an episode that is then finished; infinite for none in time."""
    while time.monotonic() < since + patience + LASTING:
        finished = {one.episode_id for one in cell.witness.ended if not one.aborted and one.at > since}
        for at, episode_id in list(cell.witness.steps):
            if at > since and episode_id in finished:
                return at - since
        cell.tend(LOOK_PERIOD)
    return float('inf')


def _report(
    recoveries: Recoveries, witness: Witness, data: DataFolder, respawned: dict[str, int], mounted: bool
) -> None:
    finished = [one.episode_id for one in witness.ended if not one.aborted]
    lost = {episode_id: why for episode_id in finished if (why := _unreadable(data.bags / episode_id))}
    catalogue = Catalogue(data)
    aside = catalogue.refresh().set_aside
    corrupt = [row.episode_id for row in catalogue.episodes() if _unreadable(row.path)]
    console = Console()
    console.print(recoveries.table())
    faults = sum(map(len, recoveries.seconds.values()))
    aborted = len(witness.ended) - len(finished)
    console.print(f'faults {faults}, of them not back within {LIMIT:g} s: {recoveries.late} (limit 0)')
    console.print(f'episodes finished {len(finished)}, of them lost {len(lost)} (limit 0); cut short {aborted}')
    for why in lost.values():
        console.print(f'  {why}')
    put_aside = len(list(data.set_aside.glob('*'))) if data.set_aside.exists() else len(aside)
    console.print(f'corrupt bags in the catalogue {len(corrupt)} (limit 0); set aside {put_aside}')
    violations = witness.violations()
    console.print(f'commands to the arm {len(witness.commands)}, of them beyond a limit {len(violations)} (limit 0)')
    for sent, violation in violations[:10]:
        console.print(f'  {time.strftime("%H:%M:%S", time.gmtime(sent / 1e9))} {violation}')
    console.print('nodes started again: ' + ', '.join(f'{name} {times}' for name, times in sorted(respawned.items())))
    if not mounted:
        console.print('the disk was not filled: mounting a small one needs root')
    console.print(load())
    if recoveries.late or lost or corrupt or violations:
        raise SystemExit(1)


def _unreadable(path: Path) -> str:
    """Return why a bag cannot be read, empty where it can."""
    try:
        read_episode(path)
    except (BagError, OSError) as error:
        return str(error)
    return ''


if __name__ == '__main__':
    typer.run(main)

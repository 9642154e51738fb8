"""Soak: two simulated robots through the full graph, trainer and detector running, for an hour.

    python bench/bench_soak.py --minutes 60 --data out/soak

Prints episodes per hour, the memory of every process after warm-up and at the end, and what must not happen: a zombie,
shared memory left behind, a message lost by the recorder, a control step longer than its declared period. The bars are
those of the project's issue on continuous collection; a missed one is printed as missed, and the exit status is 1. How
every process' memory went is in `soak.csv` and `soak.png` of the data folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mtopt_bringup.figures import STYLE
from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.interruption import Interruption
from mtopt_bringup.launcher import Launcher
from mtopt_bringup.run_node import StatusListener, cadence_table
from mtopt_bringup.supervisor import Supervisor, silences
from mtopt_core.bag import partial_bags
from mtopt_core.cadence import by_robot, read_cadence, summarise
from mtopt_core.environment import free_domain
from mtopt_core.episode_bag import episode_ids
from mtopt_core.paths import DataFolder, shipped
from mtopt_core.shared_memory import SHARED_MEMORY

SAMPLE_PERIOD = 5.0  # s
LOOK_PERIOD = 0.2  # s
GROWTH, IN_TIME = 0.05, 0.99
"""The bars: memory a process may grow by after warm-up, share of control steps within their declared period."""
TAIL = 0.2
"""Memory is the median over this share of the time at either end, for every process breathes."""


@dataclass
class Memory:
    """One process' memory in the course of time.

    Attributes:
        times: s since start.
        bytes: Of its own: resident anonymous memory, without files mapped and without shared memory.
    """

    times: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    def ends(self, since: float) -> tuple[float, float]:
        """Return what it took after warm-up and at the end, bytes."""
        times, taken = np.array(self.times), np.array(self.bytes)
        after = times >= since
        first, last = (since, since + TAIL * (times[-1] - since)), (times[-1] - TAIL * (times[-1] - since), times[-1])
        return tuple(  # type: ignore[return-value]
            float(np.median(taken[after & (times >= low) & (times <= high)])) for low, high in (first, last)
        )


def main(
    minutes: Annotated[float, typer.Option(min=1.0, help='How long.')] = 60.0,
    warm_up: Annotated[float, typer.Option(min=0.0, help='Minutes that do not count for the memory.')] = 5.0,
    data: Annotated[Path, typer.Option(help='Data folder; must be new or empty.')] = Path('out/soak'),
    robots: Annotated[int, typer.Option(min=1, help='Simulated robots.')] = 2,
    models: Annotated[
        Path | None, typer.Option(help='Folder with a success_detector; without, one is trained first (minutes).')
    ] = None,
) -> None:
    """Run the soak and print its figures."""
    console = Console()
    os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
    if episode_ids(DataFolder(data).bags):
        raise typer.BadParameter(f'{data} holds episodes already; name another folder', param_hint='--data')
    _prepare(data, models)
    before = len(episode_ids(DataFolder(data).bags))
    options = GraphOptions(
        simulator=Simulator.MUJOCO, data=data, robots=robots, shared=True, trainer=True, policy='curriculum'
    )
    soak = _run(options, minutes * 60, console)
    if not soak.load:
        raise SystemExit(f'ended before a robot collected anything; the logs are in {options.data / "log"}')
    left = {name for name in soak.segments if (SHARED_MEMORY / name).exists()}
    _draw(soak, options.data)
    failed = _report(console, DataFolder(data), soak, warm_up * 60, left, before)
    sys.exit(bool(failed))


@dataclass
class Soak:
    """What was seen.

    Attributes:
        seconds: From the first episode's start to the end.
        memory: By node.
        zombies: Processes that had ended and nobody had waited for, at any sample.
        respawned: Nodes that had to be started again.
        load: Load averages over one minute.
        episodes: s since start and episodes collected until then.
        killed: Nodes that did not stop when told to.
        segments: Fast DDS' shared memory that the nodes had open at any sample.
    """

    seconds: float = 0.0
    memory: dict[str, Memory] = field(default_factory=dict)
    zombies: set[str] = field(default_factory=set)
    respawned: dict[str, int] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    episodes: list[tuple[float, int]] = field(default_factory=list)
    killed: tuple[str, ...] = ()
    segments: set[str] = field(default_factory=set)


def _prepare(data: Path, models: Path | None) -> None:
    """Put a policy and a detector into the data folder."""
    data.mkdir(parents=True, exist_ok=True)
    target = data / 'models'
    if not (target / 'policy').exists():
        shutil.copytree(shipped('models', 'policy'), target / 'policy')
    if (target / 'success_detector').exists():
        return
    if models is not None:
        newest = max((path.parent for path in models.glob('success_detector/[!.]*/manifest.json')), default=None)
        if newest is None:
            raise typer.BadParameter(f'{models} has no success_detector', param_hint='--models')
        shutil.copytree(newest, target / 'success_detector' / newest.name)
        return
    first = data / 'first'
    for command in (
        ['simulate', '--out', str(first), '--episodes', '400', '--aim', '0.005', '--seed', '1'],
        ['detector', 'train', '--bags', str(first), '--out', str(target / 'success_detector'), '--labels', 'simulator'],
    ):
        subprocess.run([sys.executable, '-m', 'mtopt_core.cli', *command], check=True)


def _run(options: GraphOptions, seconds: float, console: Console) -> Soak:
    specs, soak = graph(options), Soak()
    names = [spec.namespace.strip('/') for spec in specs if spec.leads]
    with (
        Interruption() as interruption,
        Progress(console=console, transient=True) as progress,
        Launcher(specs, options.data / 'log', os.environ) as launcher,
        StatusListener(names, silences(specs)) as statuses,
    ):
        supervisor = Supervisor(launcher, statuses.heartbeats, time.monotonic())
        bar = progress.add_task('starting the nodes', total=seconds)
        started = sampled = 0.0
        while not interruption.requested:
            statuses.listen(LOOK_PERIOD)
            now = time.monotonic()
            supervisor.tend(now)
            running = [one for one in statuses.newest.values() if one.state == one.STATE_RUNNING]
            if not started:
                started = now if running else 0.0
                continue
            soak.seconds = now - started
            done = sum(one.episodes for one in statuses.newest.values())
            progress.update(bar, completed=soak.seconds, description=f'{done} episodes')
            if soak.seconds > seconds:
                break
            if now - sampled > SAMPLE_PERIOD:
                sampled = now
                soak.load.append(os.getloadavg()[0])
                soak.episodes.append((soak.seconds, done))
                for node in launcher.nodes:
                    _sample(soak, node.spec.full_name, node.process.pid)
        progress.update(bar, description='stopping the nodes')
        soak.killed = launcher.stop()
        soak.respawned = dict(supervisor.respawned)
    return soak


def _sample(soak: Soak, name: str, pid: int) -> None:
    try:
        status = dict(
            line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines() if ':' in line
        )
        maps = Path(f'/proc/{pid}/maps').read_text()
    except OSError:
        return
    soak.segments |= set(re.findall(r'/(fastrtps_\w+)', maps))
    if status['State'].strip().startswith('Z'):
        soak.zombies.add(f'{name} ({pid})')
    elif 'RssAnon' in status:
        memory = soak.memory.setdefault(name, Memory())
        memory.times.append(soak.seconds)
        memory.bytes.append(int(status['RssAnon'].split()[0]) * 1024)
    for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split():
        state = Path(f'/proc/{child}/stat')
        if state.exists() and state.read_text().rpartition(')')[2].split()[0] == 'Z':
            soak.zombies.add(f'child {child} of {name}')


def _report(console: Console, data: DataFolder, soak: Soak, warm_up: float, left: set[str], before: int) -> list[str]:
    """Print the figures; return the bars missed."""
    cadence = read_cadence(data)
    bags = len(episode_ids(data.bags)) - before
    console.print(cadence_table(summarise(cadence, by_robot)))
    since = min(warm_up, soak.seconds / 3)
    table = Table('node', title=f'memory of its own, MB (after {since / 60:.1f} min and at the end)')
    for column in ('then', 'at the end', 'growth'):
        table.add_column(column, justify='right')
    growths, per_episode = {}, 0.0
    during = [count for at, count in soak.episodes if at >= since]
    collected = max(1, during[-1] - during[0]) if during else 1
    for name, memory in soak.memory.items():
        then, at_end = memory.ends(since)
        index = _index_bytes(name, data) * collected
        growths[name] = (at_end - then - index) / then
        per_episode = max(per_episode, index / collected)
        table.add_row(name, f'{then / 1e6:.1f}', f'{at_end / 1e6:.1f}', f'{100 * growths[name]:+.1f} %')
    console.print(table)
    timed = sum(episode.steps for episode in cadence if episode.late_steps is not None)
    late = sum(episode.late_steps or 0 for episode in cadence)
    in_time = 1 - late / timed if timed else 0.0
    lost = sum(episode.dropped for episode in cadence)
    worst = max(growths, key=lambda name: growths[name], default='')
    hour = 3600 / soak.seconds if soak.seconds else 0.0
    console.print(
        f'{soak.seconds / 60:.1f} minutes, {len(cadence)} episodes graded, {bags} bags: {len(cadence) * hour:.0f} '
        f'episodes per hour. Index {per_episode:.0f} bytes per episode. Host load: median '
        f'{np.median(soak.load):.1f}, highest {max(soak.load):.1f} on {os.cpu_count()} cores.'
    )
    bars = {
        f'memory grows by less than {100 * GROWTH:.0f} %: at most {100 * growths.get(worst, 0):+.1f} % ({worst})': all(
            growth < GROWTH for growth in growths.values()
        ),
        f'no zombie: {", ".join(soak.zombies) or "none"}': not soak.zombies,
        f'no shared memory left: {", ".join(sorted(left)) or "none"}': not left,
        f'no message lost by the recorder: {lost}': lost == 0,
        f'{100 * IN_TIME:.0f} % of control steps in time: {100 * in_time:.2f} % of {timed}': in_time >= IN_TIME,
        f'no node had to be started again: {soak.respawned or "none"}': not soak.respawned,
        f'every node stopped when told to: {", ".join(soak.killed) or "all"}': not soak.killed,
        f'no bag is half written: {len(partial_bags(data.bags))}': not partial_bags(data.bags),
    }
    for told, met in bars.items():
        console.print(f'[{"green" if met else "bold red"}]{"met   " if met else "MISSED"}[/] {told}')
    return [told for told, met in bars.items() if not met]


def _draw(soak: Soak, folder: Path) -> None:
    """Write the course of every node's memory, as numbers and as a picture: the largest ones above, the rest below."""
    rows = [
        f'{name},{at:.1f},{taken}'
        for name, memory in soak.memory.items()
        for at, taken in zip(memory.times, memory.bytes, strict=True)
    ]
    (folder / 'soak.csv').write_text('\n'.join(['node,seconds,bytes', *rows]) + '\n')
    by_size = sorted(soak.memory, key=lambda name: -max(soak.memory[name].bytes))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.4), layout='constrained')
        for axes, names in zip(figure.subplots(2, 1, sharex=True), (by_size[:3], by_size[3:]), strict=True):
            for name in names:
                memory = soak.memory[name]
                axes.plot(np.array(memory.times) / 60, np.array(memory.bytes) / 1e6, label=name, linewidth=1)
            axes.set_ylabel('memory of its own, MB')
            axes.set_ylim(bottom=0)
            axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7)
        axes.set_xlabel('minutes')
        figure.savefig(folder / 'soak.png', dpi=120)


def _index_bytes(name: str, data: DataFolder) -> float:
    """Return what an index in memory must grow by per episode: the trainer's, of the replay, as large as its file."""
    if not name.endswith('/trainer'):
        return 0.0
    episodes = len(episode_ids(data.bags)) or 1
    return sum(path.stat().st_size for path in data.root.glob('replay/*/episodes.jsonl')) / episodes


if __name__ == '__main__':
    typer.run(main)

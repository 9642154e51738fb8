"""How well does a policy that learned in MuJoCo do in Gazebo? The same seeds, so the same scenes and starts, in both.

A policy that only fits one simulator's pictures or contacts loses here first. Where the two differ on the same seeds
McNemar's exact test says whether that can be chance.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from measuring import load
from rich.console import Console
from rich.table import Table

from mtopt_bringup.episode_workers import Workplace
from mtopt_bringup.evaluate import named_checkpoints, run_evaluation
from mtopt_bringup.evaluation import TaskResult
from mtopt_core.configuration import load_cell
from mtopt_core.environment import prepare
from mtopt_core.paths import shipped
from mtopt_core.progress import progress_bar
from mtopt_core.statistics import paired_test
from mtopt_core.tasks import load_tasks
from mtopt_sim.simulators import SimulatorName

SIMULATORS: tuple[SimulatorName, ...] = ('mujoco', 'gazebo')
DROP = 0.15
"""A rate that falls by more needs a diagnosis."""


def shown(result: TaskResult) -> str:
    """Return a rate with its 95 % Wilson interval."""
    low, high = result.interval
    return f'{result.rate:.0%} [{low:.0%}, {high:.0%}]'


def main(
    checkpoint: Annotated[Path | None, typer.Option(help='The policy; none: the shipped one.')] = None,
    tasks: Annotated[str, typer.Option(help='Names separated by commas.')] = 'lift-any,place-any',
    episodes: Annotated[int, typer.Option(min=1, help='Per task and simulator.')] = 100,
    seed: Annotated[int, typer.Option(min=0, help='Of the scenes.')] = 0,
    workers: Annotated[int, typer.Option(min=1, help='Processes; each starts a server.')] = 1,
) -> None:
    """Print the table."""
    prepare()
    known = load_tasks()
    checkpoints = named_checkpoints([str(checkpoint or shipped('models', 'policy'))], known)
    workplace = Workplace(load_cell(), known, checkpoints=checkpoints)
    names = tasks.split(',')
    found = {}
    for simulator in SIMULATORS:
        place = replace(workplace, simulator=simulator)
        with progress_bar(simulator) as progress:
            found[simulator] = run_evaluation(place, tuple(checkpoints), names, episodes, seed, workers, progress)
    (policy,) = checkpoints
    title = f'{checkpoints[policy].name}, {episodes} episodes a task, seed {seed}, 95 % Wilson intervals'
    table = Table('task', *SIMULATORS, 'difference', 'only MuJoCo', 'only Gazebo', 'p', title=title)
    for task in names:
        here, there = (found[simulator].find(policy, task) for simulator in SIMULATORS)
        pairs = paired_test(here.successes, there.successes)
        difference = f'{there.rate - here.rate:+.0%}' + ('  diagnose' if here.rate - there.rate > DROP else '')
        counts = str(pairs.only_first), str(pairs.only_second), f'{pairs.p_value:.3f}'
        table.add_row(task, shown(here), shown(there), difference, *counts)
    Console().print(table)
    print(load())


if __name__ == '__main__':
    typer.run(main)

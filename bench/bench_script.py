"""How often does the aimed script succeed, which knows where everything is? Without noise: the most there is.

The object of the task is in the scene, as when policies are evaluated. With noise it is the script that makes datasets.
A place is aimed at the middle of a section of the plate only here: no dataset is made that way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated

import numpy as np
import typer
from measuring import load
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtopt_bringup.bootstrap import AIM
from mtopt_bringup.object_aim import ObjectAim
from mtopt_bringup.simulation_episode import SimulatedRobot
from mtopt_bringup.task_mixture import UNIFORM, TaskMixture
from mtopt_core.configuration import load_cell
from mtopt_core.environment import prepare
from mtopt_core.statistics import wilson_interval
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.scripted import ScriptedNoise, ScriptedPolicy, Target
from mtopt_sim.cell import Cell
from mtopt_sim.errors import DivergedError
from mtopt_sim.simulators import SimulatorName, new_cell

RELEASE_HEIGHT = 0.07  # m; what is held reaches a little below the tip
EXACT = ScriptedNoise(distraction=0, rise=0, early=0, aimless=0, random=0, stray=0)


def successes(robot: SimulatedRobot, policy: ScriptedPolicy, task: str, episodes: int) -> int:
    """Return how many of the first episodes of a task succeed; one whose physics diverge does not."""
    count = 0
    for number in range(episodes):
        try:
            count += robot.run(policy, f'{task}_{number}', task, number, object_present=True).truth[task]
        except DivergedError as error:
            print(f'{task}, seed {number}, counts as a failure: the physics diverged at step {error.step}')
    return count


def shown(succeeded: int, episodes: int) -> str:
    """Return a rate with its 95 % Wilson interval."""
    low, high = wilson_interval(succeeded, episodes)
    return f'{succeeded / episodes:.0%} [{low:.0%}, {high:.0%}]'


class PlateAim:
    """Tells the scripted policy where to let go of what it holds; of picking it says what `ObjectAim` says.

    Args:
        cell: Where the plate is.
        tasks: Which section a task is about.
        error: Standard deviation of the position in each direction, m.
    """

    def __init__(self, cell: Cell, tasks: TaskSet, error: float) -> None:
        self._cell = cell
        self._tasks = tasks
        self._error = error
        self._objects = ObjectAim(cell, tasks, error)

    def __call__(self, task: str, rng: np.random.Generator) -> Target | None:
        """Return a grasp, or a place above the middle of a section: the task's, else the widest."""
        if self._tasks[task].skill != 'place':
            return self._objects(task, rng)
        widest = max(self._cell.table.plate.sections, key=lambda one: one.end - one.start)
        section = self._tasks[task].section or widest.name
        place = np.append(self._cell.section_position(section), RELEASE_HEIGHT)
        return Target(place + rng.normal(0.0, self._error, 3), self._cell.yaw)


def main(
    episodes: Annotated[int, typer.Option(min=1, help='Of each task.')] = 100,
    sim: Annotated[SimulatorName, typer.Option(help='What simulates the cell.')] = 'mujoco',
    tasks: Annotated[str, typer.Option(help='uniform for all, or names separated by commas.')] = UNIFORM,
    noise: Annotated[bool, typer.Option(help='The script with its noise too.')] = True,
) -> None:
    """Print the table."""
    prepare()
    known = load_tasks()
    names = TaskMixture.parse(tasks, known).tasks
    with closing(new_cell(sim, 1, ())) as cell:
        policies = {'exact': _policy(known, cell, 0.0, EXACT)}
        if noise:
            policies[f'{AIM * 1000:.0f} mm and noise'] = _policy(known, cell, AIM, ScriptedNoise())
        Console().print(table_of(SimulatedRobot(cell, load_cell(), known, (), ()), policies, names, episodes, sim))
    print(load())


def table_of(
    robot: SimulatedRobot, policies: Mapping[str, ScriptedPolicy], names: Sequence[str], episodes: int, sim: str
) -> Table:
    """Return how often each script solves each task."""
    table = Table('task', *policies, title=f'aimed script in {sim}, {episodes} episodes a task, 95 % Wilson interval')
    for task in track(names, 'Trying', console=Console(stderr=True), transient=True):
        table.add_row(
            task, *(shown(successes(robot, policy, task, episodes), episodes) for policy in policies.values())
        )
    return table


def _policy(tasks: TaskSet, cell: Cell, error: float, noise: ScriptedNoise) -> ScriptedPolicy:
    space = ActionSpace.eased(load_cell().step)
    return ScriptedPolicy(tasks, space, noise, PlateAim(cell, tasks, error))


if __name__ == '__main__':
    typer.run(main)

"""How often does the aimed script lift, which knows where everything is? Without noise: what the cell allows at most.

The object of the task is in the scene, as when policies are evaluated. With noise it is the script that makes datasets.
"""

from __future__ import annotations

from typing import Annotated

import typer
from measuring import load
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtopt_bringup.bootstrap import AIM
from mtopt_bringup.object_aim import ObjectAim
from mtopt_bringup.simulation_episode import SimulatedRobot
from mtopt_core.configuration import load_cell
from mtopt_core.environment import prepare
from mtopt_core.statistics import wilson_interval
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.scripted import ScriptedNoise, ScriptedPolicy
from mtopt_sim.cell import Cell

EXACT = ScriptedNoise(distraction=0, rise=0, early=0, aimless=0, random=0, stray=0)


def successes(robot: SimulatedRobot, policy: ScriptedPolicy, task: str, episodes: int) -> int:
    """Return how many of the first episodes of a task succeed."""
    return sum(
        robot.run(policy, f'{task}_{number}', task, number, object_present=True).truth[task]
        for number in range(episodes)
    )


def shown(succeeded: int, episodes: int) -> str:
    """Return a rate with its 95 % Wilson interval."""
    low, high = wilson_interval(succeeded, episodes)
    return f'{succeeded / episodes:.0%} [{low:.0%}, {high:.0%}]'


def main(episodes: Annotated[int, typer.Option(min=1, help='Of each task.')] = 100) -> None:
    """Print the table."""
    prepare()
    tasks, cell = load_tasks(), Cell(image_size=1)
    robot = SimulatedRobot(cell, load_cell(), tasks, (), ())
    policies = {
        'exact': _policy(tasks, cell, 0.0, EXACT),
        f'{AIM * 1000:.0f} mm and noise': _policy(tasks, cell, AIM, ScriptedNoise()),
    }
    table = Table('task', *policies, title=f'aimed script, {episodes} episodes a task, 95 % Wilson interval')
    lifts = [task.name for task in tasks.tasks if task.skill == 'lift']
    for task in track(lifts, 'Lifting', console=Console(stderr=True), transient=True):
        table.add_row(
            task, *(shown(successes(robot, policy, task, episodes), episodes) for policy in policies.values())
        )
    Console().print(table)
    print(load())


def _policy(tasks: TaskSet, cell: Cell, error: float, noise: ScriptedNoise) -> ScriptedPolicy:
    space = ActionSpace.eased(load_cell().step)
    return ScriptedPolicy(tasks, space, noise, ObjectAim(cell, tasks, error))


if __name__ == '__main__':
    typer.run(main)

"""How well do a policy and a detector that learned in MuJoCo do in Gazebo? The same seeds, so the same scenes.

A policy that only fits one simulator's pictures or contacts loses here first. Where the two differ on the same seeds
McNemar's exact test says whether that can be chance. The detector judges the final images of these very episodes; each
simulator's truth says how well. It goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from bench_detector import known
from measuring import load
from rich.console import Console
from rich.table import Table

from mtopt_bringup.diverged_episodes import diverged_episodes
from mtopt_bringup.episode_workers import Workplace, run_jobs
from mtopt_bringup.evaluate import evaluation_job, named_checkpoints
from mtopt_core.checkpoint import find_checkpoint
from mtopt_core.configuration import load_cell
from mtopt_core.environment import prepare
from mtopt_core.episode_bag import episode_ids, read_outcomes
from mtopt_core.paths import DataFolder, shipped
from mtopt_core.progress import progress_bar
from mtopt_core.statistics import paired_test, wilson_interval
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_sim.simulators import SimulatorName
from mtopt_success_detector.evaluation import TaskMetrics, measure_tasks
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.grader import Grader

SIMULATORS: tuple[SimulatorName, ...] = ('mujoco', 'gazebo')
DROP = 0.15
"""A rate that falls by more needs a diagnosis."""
FIGURES = {'balanced_accuracy': 'balanced accuracy', 'recall': 'recall', 'false_positive_rate': 'false positives'}


@dataclass(frozen=True)
class Tried:
    """The episodes of one simulator.

    Attributes:
        data: Their data folder.
        truth: What is true at the end of each, by id and task; nothing of those whose physics diverged at every try.
    """

    data: DataFolder
    truth: Mapping[str, Mapping[str, bool]]

    def successes(self, task: str, episodes: int) -> list[bool]:
        """Return whether each episode that attempted a task solved it; none did whose physics diverged."""
        return [self.truth.get(episode_id(task, number), {}).get(task, False) for number in range(episodes)]


def episode_id(task: str, number: int) -> str:
    """Return the id of the n-th episode that attempts a task."""
    return f'{task}_{number:04}'


def attempt(
    place: Workplace, root: Path, policy: str, tasks: Sequence[str], episodes: int, seed: int, workers: int
) -> Tried:
    """Simulate what is not there yet of the episodes that `mtopt evaluate` tries on this seed."""
    data = DataFolder(root)
    data.bags.mkdir(parents=True, exist_ok=True)
    there = set(episode_ids(data.bags)) | diverged_episodes(data)
    jobs = [
        replace(
            evaluation_job(policy, task, (seed, number, place.tasks.index(task))), episode_id=episode_id(task, number)
        )
        for number in range(episodes)
        for task in tasks
    ]
    missing = [job for job in jobs if job.episode_id not in there]
    with progress_bar(place.simulator) as report:
        for count, _ in enumerate(run_jobs(replace(place, bags=data.bags), missing, workers), 1):
            report(len(jobs) - len(missing) + count, len(jobs))
    truth = {}
    diverged = diverged_episodes(data)
    if diverged:
        print(f'not carried out in {place.simulator}, counted as failures: {", ".join(sorted(diverged))}')
    for job in jobs:
        if job.episode_id in diverged:
            continue
        (graded,) = read_outcomes(data.bags / job.episode_id)
        truth[job.episode_id] = {outcome.task: outcome.probability == 1 for outcome in graded.outcomes}
    return Tried(data, truth)


def judge(grader: Grader, tried: Tried, tasks: TaskSet) -> dict[str, TaskMetrics]:
    """Return how well the detector judges the final images of all episodes, each for every task of its skill."""
    ids = list(tried.truth)
    images = FinalImages(tried.data, grader.manifest.network.looks)
    images.read({name: tried.data.bags / name for name in ids})
    skills = np.array([tasks[name.rpartition('_')[0]].skill for name in ids])
    outcomes = np.array([[tried.truth[name][task] for task in tasks.names] for name in ids], np.float32)
    own_skill = skills[:, None] == np.array([task.skill for task in tasks.tasks])
    probabilities = grader.probabilities(images, ids)
    return measure_tasks(tasks.names, probabilities, outcomes, own_skill, grader.manifest.thresholds)


def shown(successes: Sequence[bool]) -> str:
    """Return a rate with its 95 % Wilson interval."""
    low, high = wilson_interval(sum(successes), len(successes))
    return f'{np.mean(successes):.0%} [{low:.0%}, {high:.0%}]'


def show_policy(found: Mapping[SimulatorName, Tried], tasks: Sequence[str], episodes: int, title: str) -> None:
    """Print how often the policy solves each task."""
    table = Table('task', *SIMULATORS, 'difference', 'only MuJoCo', 'only Gazebo', 'p', title=title)
    for task in tasks:
        here, there = (found[simulator].successes(task, episodes) for simulator in SIMULATORS)
        pairs = paired_test(here, there)
        gained = float(np.mean(there)) - float(np.mean(here))
        difference = f'{gained:+.0%}' + ('  diagnose' if -gained > DROP else '')
        counts = str(pairs.only_first), str(pairs.only_second), f'{pairs.p_value:.3f}'
        table.add_row(task, shown(here), shown(there), difference, *counts)
    Console().print(table)


def show_detector(
    found: Mapping[SimulatorName, Mapping[str, TaskMetrics]], groups: Mapping[str, Sequence[str]], title: str
) -> None:
    """Print the figures of some groups of tasks in both simulators, means of the tasks that have them."""
    table = Table('tasks', 'simulator', 'successes', 'failures', *FIGURES.values(), title=title)
    for group, tasks in groups.items():
        for simulator in SIMULATORS:
            metrics = {task: found[simulator][task] for task in tasks if task in found[simulator]}
            sums = (sum(one.successes for one in metrics.values()), sum(one.failures for one in metrics.values()))
            means = (known(metrics, figure) for figure in FIGURES)
            table.add_row(group, simulator, *map(str, sums), *(f'{np.mean(one):.1%}' if one else '-' for one in means))
    Console().print(table)


def main(
    folder: Annotated[Path, typer.Argument(help='Folder for the episodes.')] = Path('out/sim_to_sim'),
    checkpoint: Annotated[Path | None, typer.Option(help='The policy; none: the shipped one.')] = None,
    detector: Annotated[Path | None, typer.Option(help='The detector; none: the shipped one.')] = None,
    tasks: Annotated[str, typer.Option(help='Names separated by commas.')] = 'lift-any,place-any',
    episodes: Annotated[int, typer.Option(min=1, help='Per task and simulator.')] = 100,
    seed: Annotated[int, typer.Option(min=0, help='Of the scenes; another one needs another folder.')] = 0,
    workers: Annotated[int, typer.Option(min=1, help='Processes; each starts a server.')] = 1,
) -> None:
    """Print the policy's rates, and what the detector makes of the same episodes."""
    prepare()
    task_set, names = load_tasks(), tasks.split(',')
    checkpoints = named_checkpoints([str(checkpoint or shipped('models', 'policy'))], task_set)
    grader = Grader.load(find_checkpoint(detector or shipped('models', 'success_detector')), task_set)
    workplace = Workplace(load_cell(), task_set, checkpoints=checkpoints)
    (policy,) = checkpoints
    found = {
        simulator: attempt(
            replace(workplace, simulator=simulator), folder / simulator, policy, names, episodes, seed, workers
        )
        for simulator in SIMULATORS
    }
    conditions = f'{episodes} episodes a task, seed {seed}'
    show_policy(found, names, episodes, f'{checkpoints[policy].name}, {conditions}, 95 % Wilson intervals')
    judged = {simulator: judge(grader, tried, task_set) for simulator, tried in found.items()}
    groups: dict[str, Sequence[str]] = {name: [name] for name in names}
    groups |= {f'all {skill}s': task_set.of_skill(skill) for skill in dict.fromkeys(task_set[n].skill for n in names)}
    show_detector(judged, groups, f'detector {grader.manifest.version}, {conditions}; means of the tasks of a group')
    print(load())


if __name__ == '__main__':
    typer.run(main)

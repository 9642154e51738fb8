"""`mtopt evaluate`: how often each policy solves each task, by the simulator's truth, on the same seeds."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from mtopt_bringup.episode_workers import ROBOT, Job, Result, Workplace, run_jobs
from mtopt_bringup.evaluation import Evaluation, TaskResult, rows_of, verdict
from mtopt_bringup.interruption import Interruption
from mtopt_bringup.task_mixture import UNIFORM, TaskMixture
from mtopt_core.checkpoint import find_checkpoint
from mtopt_core.configuration import load_cell
from mtopt_core.episode import new_episode_id
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.statistics import paired_test
from mtopt_core.tasks import TaskSet, load_tasks

EVALUATION_STREAM = 1
"""Keeps the seeds of an evaluation apart from those `mtopt simulate` draws from the same number."""


class Policy(StrEnum):
    """Policies that can be evaluated."""

    SCRIPTED = 'scripted'
    LEARNED = 'learned'


def evaluate(
    checkpoint: Annotated[
        Path | None, typer.Option(help='The learned policy: a checkpoint, or a folder of them, then the newest.')
    ] = None,
    policy: Annotated[
        list[Policy] | None, typer.Option(help='Evaluate this one; several are compared. Learned by default.')
    ] = None,
    tasks: Annotated[str, typer.Option(help='uniform for all, or names separated by commas.')] = UNIFORM,
    episodes: Annotated[int, typer.Option(min=1, help='Per task and policy.')] = 100,
    seed: Annotated[int, typer.Option(min=0, help='Same seed, same scenes and start poses, for every policy.')] = 0,
    workers: Annotated[int, typer.Option(min=0, help='Processes; 0 takes one per core.')] = 0,
    image_size: Annotated[int, typer.Option(min=16, help='Side of the images, px.')] = 64,
    json: Annotated[Path | None, typer.Option(help="Write every episode's outcome to this file too.")] = None,
    bags: Annotated[Path | None, typer.Option(help='Data folder for the episodes; without it none are kept.')] = None,
) -> None:
    """Measure policies in the simulated cell.

    A lift's scene holds the object that is to be lifted, a place starts with an object in the hand. One policy is
    called better than another only where their 95 % Wilson intervals do not overlap.
    """
    known = load_tasks()
    policies = tuple(dict.fromkeys(one.value for one in policy or [Policy.LEARNED]))
    names = TaskMixture.parse(tasks, known).tasks
    data = None if bags is None else DataFolder(bags)
    workplace = Workplace(
        load_cell(),
        known,
        image_size,
        checkpoint=None if checkpoint is None else find_checkpoint(checkpoint),
        bags=None if data is None else data.bags,
    )
    jobs = [
        evaluation_job(name, task, (seed, number, known.index(task)))
        for number in range(episodes)
        for task in names
        for name in policies
    ]
    results = []
    with Interruption() as interruption, progress_bar('evaluating') as report:
        wanted = takewhile(lambda _: not interruption.requested, jobs)
        for result in run_jobs(workplace, wanted, workers or os.cpu_count() or 1):
            results.append(result)
            report(len(results), len(jobs))
    if data is not None:
        store = LabelStore(data)
        store.add_many(SIMULATOR, '', {result.job.episode_id: result.outcomes for result in results})
        store.close()
    evaluation = evaluation_of(results, seed, policies, names)
    if json is not None:
        evaluation.save(json)
    Console().print(table_of(evaluation, known))
    if interruption.requested:
        print('stopped; the table holds the episodes that every policy has tried on every task')


def evaluation_job(policy: str, task: str, key: tuple[int, int, int]) -> Job:
    """Return one episode of an evaluation.

    Args:
        policy: Who decides; the seed does not depend on it.
        task: What to attempt.
        key: Seed of the evaluation, number of the episode, place of the task in the one-hot.
    """
    rng = np.random.default_rng((*key, EVALUATION_STREAM))
    return Job(key[1], new_episode_id(ROBOT), task, int(rng.integers(2**31)), policy, object_present=True)


def evaluation_of(results: Iterable[Result], seed: int, policies: Sequence[str], tasks: Sequence[str]) -> Evaluation:
    """Gather an evaluation's results.

    Args:
        results: In any order. Seeds that not every policy has tried on every task are left out.
        seed: Of the evaluation.
        policies: In the order to show them.
        tasks: The same.
    """
    by_number: dict[int, dict[tuple[str, str], Result]] = defaultdict(dict)
    for result in results:
        by_number[result.job.number][result.job.policy, result.job.task] = result
    combinations = [(policy, task) for task in tasks for policy in policies]
    complete = [found for _, found in sorted(by_number.items()) if len(found) == len(combinations)]
    rows = {combination: [found[combination] for found in complete] for combination in combinations if complete}
    return Evaluation(
        created=datetime.now(UTC).isoformat(timespec='seconds'),
        seed=seed,
        results=tuple(
            TaskResult(
                policy=policy,
                model_version=tried[0].model_version,
                task=task,
                successes=tuple(result.solved for result in tried),
                steps=tuple(result.steps for result in tried),
            )
            for (policy, task), tried in rows.items()
        ),
    )


def table_of(evaluation: Evaluation, tasks: TaskSet) -> Table:
    """Return the evaluation for a terminal."""
    table = Table('task', title=f'success by the truth, 95 % Wilson interval; seed {evaluation.seed}')
    for policy in evaluation.policies:
        table.add_column(policy, justify='right')
    compared = len(evaluation.policies) == 2
    if compared:
        table.add_column('by the intervals')
        table.add_column('paired p', justify='right')
    for row in rows_of(evaluation, tasks):
        cells = [percent_with_interval(result) for result in row]
        if compared:
            test = paired_test(row[0].successes, row[1].successes)
            cells += [verdict(*row), f'{test.p_value:.2g}']
        table.add_row(row[0].task, *cells)
    return table


def percent_with_interval(result: TaskResult) -> str:
    """Return a success rate as people write it."""
    low, high = result.interval
    return f'{100 * result.rate:.0f} % [{100 * low:.0f}, {100 * high:.0f}]'

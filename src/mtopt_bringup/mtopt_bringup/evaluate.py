"""`mtopt evaluate`: how often each policy solves each task, by the simulator's truth, on the same seeds."""

from __future__ import annotations

import os
import re
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

from mtopt_bringup.episode_workers import ROBOT, Filming, Job, Result, Workplace, run_jobs
from mtopt_bringup.evaluation import Evaluation, TaskResult
from mtopt_bringup.evaluation_table import table_of
from mtopt_bringup.interruption import Interruption
from mtopt_bringup.task_mixture import UNIFORM, TaskMixture
from mtopt_core.checkpoint import find_checkpoint, load_manifest
from mtopt_core.command_options import Looks, TasksFile
from mtopt_core.configuration import load_cell
from mtopt_core.episode import new_episode_id
from mtopt_core.errors import ConfigurationError
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, progress_bar, silent
from mtopt_core.tasks import TASKS_FILE, TaskSet, load_tasks
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.policies import LEARNED, MIXTURE, SCRIPTED
from mtopt_sim.simulators import SimulatorName

EVALUATION_STREAM = 1
"""Keeps the seeds of an evaluation apart from those `mtopt simulate` draws from the same number."""


class Policy(StrEnum):
    """Policies that can be evaluated."""

    SCRIPTED = SCRIPTED
    LEARNED = LEARNED


def evaluate(
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar='[NAME=]PATH',
            help='A learned policy: a checkpoint, or a folder of them, then the newest. Several are compared, '
            'each called by its NAME, or by its version where it has none.',
        ),
    ] = None,
    policy: Annotated[
        list[Policy] | None, typer.Option(help='Evaluate the script, the learned policies (the default), or both.')
    ] = None,
    tasks: Annotated[str, typer.Option(help='uniform for all, or names separated by commas.')] = UNIFORM,
    tasks_file: TasksFile = TASKS_FILE,
    episodes: Annotated[int, typer.Option(min=1, help='Per task and policy.')] = 100,
    seed: Annotated[int, typer.Option(min=0, help='Same seed, same scenes and start poses, for every policy.')] = 0,
    workers: Annotated[int, typer.Option(min=0, help='Processes; 0 takes one per core.')] = 0,
    image_size: Annotated[int, typer.Option(min=16, help='Side of the images, px.')] = 64,
    json: Annotated[Path | None, typer.Option(help="Write every episode's outcome to this file too.")] = None,
    bags: Annotated[Path | None, typer.Option(help='Data folder for the episodes; without it none are kept.')] = None,
    videos: Annotated[Path | None, typer.Option(help='Folder for videos; without it none are made.')] = None,
    video_episodes: Annotated[
        str, typer.Option(help='Which episodes to film of every task and policy: numbers from 0, separated by commas.')
    ] = '0',
    sim: Annotated[
        SimulatorName, typer.Option(help='What simulates the cell; Gazebo needs `make gazebo-root` and is slower.')
    ] = 'mujoco',
    looks: Looks = 1.0,
) -> None:
    """Measure policies in the simulated cell.

    A lift's scene holds the object that is to be lifted, a place starts with an object in the hand. One policy is
    called better than another only where their 95 % Wilson intervals do not overlap.

    An episode in which the simulator's physics diverge at every try counts as a failure, and is said beside the table
    and in the JSON.

    A video shows what the main and wrist cameras see, what CEM tried coloured by its Q, and Q over the episode.

    Example: `mtopt evaluate --checkpoint mine=out/models/policy --checkpoint theirs=out/other/policy`
    """
    if videos is not None and sim != 'mujoco':
        raise ConfigurationError('videos are made with MuJoCo only; leave out --videos or --sim')
    known = load_tasks(tasks_file)
    checkpoints = named_checkpoints(checkpoint or (), known)
    workplace = Workplace(
        load_cell(),
        known,
        image_size,
        checkpoints=checkpoints,
        bags=None if bags is None else DataFolder(bags).bags,
        filming=None if videos is None else Filming(videos, _numbers(video_episodes, episodes)),
        simulator=sim,
        looks=looks,
    )
    names = TaskMixture.parse(tasks, known).tasks
    policies = _asked_for(policy or [Policy.LEARNED], checkpoints)
    with Interruption() as interruption, progress_bar('evaluating') as progress:
        evaluation = run_evaluation(
            workplace, policies, names, episodes, seed, workers or os.cpu_count() or 1, progress, interruption
        )
    if interruption.requested:
        print(f'stopped; {evaluation.episodes} of {episodes} episodes were tried by every policy on every task')
    if evaluation.episodes:
        Console().print(table_of(evaluation, known))
        if json is not None:
            evaluation.save(json)
    if videos is not None:
        print(f'videos are in {videos}')


def named_checkpoints(texts: Iterable[str], tasks: TaskSet) -> dict[str, Path]:
    """Return the checkpoints of a command line's `[NAME=]PATH` by name: a single one without is called `learned`.

    Raises:
        CheckpointError: There is none, or it is not of a policy for these tasks.
        ConfigurationError: A name is taken, or is more than a word.
    """
    given = list(texts)
    found: dict[str, Path] = {}
    for text in given:
        name, _, path = text.partition('=') if '=' in text else ('', '', text)
        checkpoint = find_checkpoint(Path(path))
        manifest = load_manifest(checkpoint, PolicyManifest)
        manifest.require_fit(tasks)
        name = name or (LEARNED if len(given) == 1 else manifest.version)
        taken = (SCRIPTED, MIXTURE, *found)
        if name in taken or not re.fullmatch(r'\w[\w.+-]*', name):
            raise ConfigurationError(
                f'--checkpoint {text} cannot be called {name!r}; say NAME=PATH with a name of letters, digits and '
                f'. + - _ that is not taken ({", ".join(taken)})'
            )
        found[name] = checkpoint
    return found


def _asked_for(kinds: Sequence[Policy], checkpoints: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the policies to evaluate, in the order asked for.

    Raises:
        ConfigurationError: Learned ones are asked for and none is given.
    """
    learned = tuple(checkpoints)
    if Policy.LEARNED in kinds and not learned:
        raise ConfigurationError('no learned policy to evaluate: say which by --checkpoint, or --policy scripted')
    names = [name for kind in kinds for name in (learned if kind is Policy.LEARNED else (SCRIPTED,))]
    return tuple(dict.fromkeys(names))


def _numbers(text: str, episodes: int) -> frozenset[int]:
    """Return the numbers of the episodes to film.

    Raises:
        ConfigurationError: These are no numbers, or there is no such episode.
    """
    parts = [part.strip() for part in text.split(',')]
    if not all(part.isdecimal() and int(part) < episodes for part in parts):
        raise ConfigurationError(
            f'--video-episodes {text}: give numbers from 0 to {episodes - 1} separated by commas, as in 0,1,2'
        )
    return frozenset(map(int, parts))


def run_evaluation(
    workplace: Workplace,
    policies: Sequence[str],
    tasks: Sequence[str],
    episodes: int,
    seed: int,
    workers: int,
    progress: Report = silent,
    interruption: Interruption | None = None,
) -> Evaluation:
    """Measure policies on the same seeds.

    Args:
        workplace: Names the checkpoints of learned policies. With a folder for bags, the true outcomes are stored
            beside it.
        policies: `scripted` and names of the workplace's checkpoints.
        tasks: Names of the tasks.
        episodes: Per task and policy.
        seed: Of the evaluation.
        workers: Number of processes.
        progress: Told how many episodes are done.
        interruption: Ends it early; what every policy has tried on every task by then is evaluated.

    Raises:
        WorkerError: A worker died or could not start.
        MtoptError: An episode could not be simulated or its bag not be written.
    """
    jobs = [
        evaluation_job(policy, task, (seed, number, workplace.tasks.index(task)))
        for number in range(episodes)
        for task in tasks
        for policy in policies
    ]
    results = []
    wanted = takewhile(lambda _: interruption is None or not interruption.requested, jobs)
    for result in run_jobs(workplace, wanted, workers):
        results.append(result)
        progress(len(results), len(jobs))
    if workplace.bags is not None:
        store = LabelStore(DataFolder(workplace.bags.parent))
        carried_out = [result for result in results if not result.problem]
        store.add_many(SIMULATOR, '', {result.job.episode_id: result.outcomes for result in carried_out})
        store.close()
    return evaluation_of(results, seed, policies, tasks)


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
                diverged=tuple(result.job.number for result in tried if result.problem),
            )
            for (policy, task), tried in rows.items()
        ),
    )

"""Simulated episodes on several cores: hands out jobs to worker processes and yields what came of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mtopt_core.child_processes import worker_pool
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Outcome, Termination
from mtopt_core.errors import MtoptError
from mtopt_core.tasks import TaskSet
from mtopt_sim.simulators import SimulatorName

if TYPE_CHECKING:
    from mtopt_bringup.simulation_worker import Worker

ROBOT = 'simulated'
"""Namespace of the robot in the bags."""

AHEAD = 2
"""Episodes handed out per worker, so that none waits for the next one."""


class WorkerError(MtoptError):
    """A worker process died."""


@dataclass(frozen=True)
class Job:
    """One episode to simulate.

    Attributes:
        number: Its place in whatever it is part of.
        episode_id: Its id.
        task: Name of the task to attempt.
        seed: Of the scene, the start pose and the policy.
        policy: `scripted`, the name of a checkpoint of the workplace, or `mixture` of scripted and `learned`.
        object_present: The scene surely holds the object to be lifted.
    """

    number: int
    episode_id: str
    task: str
    seed: int
    policy: str
    object_present: bool = False


@dataclass(frozen=True)
class Result:
    """What came of a job; the images stay with the worker, in a bag if one was asked for.

    Attributes:
        job: The job.
        policy: The one that ran: `scripted` or `learned`.
        model_version: Of its checkpoint, empty for scripted.
        outcomes: The truth for every task.
        steps: Actions taken.
        termination: Why it ended.
        problem: Why it was not carried out, for people: the physics diverged at every try. Nothing is then known of
            it and no bag written. Empty for all others.
    """

    job: Job
    policy: str
    model_version: str
    outcomes: tuple[Outcome, ...]
    steps: int
    termination: Termination
    problem: str = ''

    @property
    def solved(self) -> bool:
        """Whether the task attempted is solved."""
        return any(outcome.task == self.job.task and outcome.probability == 1 for outcome in self.outcomes)


@dataclass(frozen=True)
class Filming:
    """What is filmed.

    Attributes:
        folder: For the videos.
        numbers: Numbers of the jobs.
    """

    folder: Path
    numbers: frozenset[int]


@dataclass(frozen=True)
class Workplace:
    """What every worker needs.

    Attributes:
        configuration: Step limits and recording.
        tasks: The tasks.
        image_size: Side of the rendered images, px; 0 renders none.
        checkpoints: Learned policies by the names jobs ask for them by.
        setting: Action space of the scripted policy where there is no checkpoint to take it from, the first's then.
        aim: Standard deviation, m, of the scripted policy's aim at an object it is told of; none for no aim.
        exploration: Share of random moves among those of the learned policy.
        bags: Folder for bags; none writes none.
        filming: Which jobs to make videos of; none films none.
        objects: Categories of every scene; none for each with its own probability.
        simulator: What simulates the cell; each worker has one of its own.
        looks: How much light, colours and cameras vary: 1 as usual, 0 not at all.
    """

    configuration: CellConfiguration
    tasks: TaskSet
    image_size: int = 64
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    setting: Literal['eased', 'full'] = 'eased'
    aim: float | None = None
    exploration: float = 0.0
    bags: Path | None = None
    filming: Filming | None = None
    objects: tuple[str, ...] | None = None
    simulator: SimulatorName = 'mujoco'
    looks: float = 1.0


def run_jobs(workplace: Workplace, jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Simulate episodes in worker processes, in no particular order.

    Jobs are drawn one by one as workers become free: whoever ends the jobs early still gets the results of those
    that run. An episode that was not carried out is told on standard error too.

    Args:
        workplace: What every worker needs.
        jobs: What to simulate.
        workers: Number of processes.

    Raises:
        WorkerError: A worker died or could not start.
        MtoptError: An episode could not be simulated or its bag not be written.
    """
    waiting = iter(jobs)
    with worker_pool(workers, _start_worker, workplace) as pool:
        running: set[Future[Result]] = {pool.submit(_run, job) for job in islice(waiting, AHEAD * workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    if result.problem:
                        print(result.problem, file=sys.stderr)
                    yield result
                running |= {pool.submit(_run, job) for job in islice(waiting, len(done))}
        except BrokenProcessPool:
            raise WorkerError(
                'a simulation worker died; is there memory left, and does EGL work? '
                '`mtopt simulate --episodes 1 --workers 1` shows its own message above this line'
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_worker: Worker | None = None


def _start_worker(workplace: Workplace) -> None:
    from mtopt_bringup.simulation_worker import Worker

    global _worker
    _worker = Worker(workplace)


def _run(job: Job) -> Result:
    assert _worker is not None
    return _worker.run(job)

"""What an evaluation found: every episode's true outcome on known seeds, and what may be claimed from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mtopt_core.errors import MtoptError
from mtopt_core.statistics import wilson_interval
from mtopt_core.tasks import TaskSet
from mtopt_core.whole_file import write_whole


class EvaluationError(MtoptError):
    """An evaluation's file cannot be read or written."""


@dataclass(frozen=True)
class TaskResult:
    """One policy on one task; episode i of every policy had the same scene, start pose and seed.

    Attributes:
        policy: Its name in the comparison: `scripted`, or what its checkpoint is called there.
        model_version: Of the checkpoint, empty for scripted.
        task: Name of the task attempted.
        successes: The true outcome of each episode, in the order of the seeds.
        steps: Actions taken in each episode.
        diverged: Numbers of the episodes that were not carried out, for the physics diverged at every try. They count
            as failures: what makes a simulator diverge is mostly an arm that presses onto something.
    """

    policy: str
    model_version: str
    task: str
    successes: tuple[bool, ...]
    steps: tuple[int, ...]
    diverged: tuple[int, ...] = ()

    @property
    def rate(self) -> float:
        """Share of successes, in [0, 1]."""
        return sum(self.successes) / max(len(self.successes), 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(sum(self.successes), len(self.successes))


@dataclass(frozen=True)
class Evaluation:
    """Policies compared on the same seeds.

    Attributes:
        created: UTC, ISO 8601.
        seed: Episode i of the evaluation follows from this and i.
        results: One per policy and task.
    """

    created: str
    seed: int
    results: tuple[TaskResult, ...]

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies, in the order they were asked for."""
        return tuple(dict.fromkeys(result.policy for result in self.results))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order they were asked for."""
        return tuple(dict.fromkeys(result.task for result in self.results))

    @property
    def episodes(self) -> int:
        """Episodes of every policy on every task; 0 where an interruption left none that all had tried."""
        return len(self.results[0].successes) if self.results else 0

    @property
    def diverged(self) -> str:
        """What is to be said of episodes that were not carried out; empty where there are none."""
        lists = [f'{row.policy} {row.task} {", ".join(map(str, row.diverged))}' for row in self.results if row.diverged]
        number = sum(len(row.diverged) for row in self.results)
        return (
            f'{number} episode{"s" * (number > 1)} not carried out, as the physics diverged at every try, '
            f'counted as failure{"s" * (number > 1)}: {"; ".join(lists)}'
            if number
            else ''
        )

    def find(self, policy: str, task: str) -> TaskResult:
        """Return the result of a policy on a task; every policy was evaluated on every task."""
        return next(result for result in self.results if (result.policy, result.task) == (policy, task))

    def of(self, tasks: TaskSet) -> Evaluation:
        """Return the results under the names that the tasks have now; those of unknown tasks are left out."""
        now = [replace(result, task=tasks.current_name(result.task)) for result in self.results]
        return replace(self, results=tuple(result for result in now if result.task in tasks.names))

    def save(self, path: Path) -> None:
        """Write the evaluation as JSON, whole or not at all.

        Raises:
            EvaluationError: It cannot be written.
        """
        try:
            write_whole(path, json.dumps(asdict(self), indent=1) + '\n')
        except OSError as error:
            raise EvaluationError(f'evaluation {path} cannot be written: {error.strerror}') from None

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read an evaluation.

        Raises:
            EvaluationError: The file is not one.
        """
        try:
            data = json.loads(path.read_text())
            results = tuple(
                TaskResult(
                    **{
                        **row,
                        'successes': tuple(row['successes']),
                        'steps': tuple(row['steps']),
                        'diverged': tuple(row.get('diverged', ())),
                    }
                )
                for row in data['results']
            )
            return cls(created=data['created'], seed=data['seed'], results=results)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f'{path} is not an evaluation by `mtopt evaluate --json`: {error}') from None


def separates(better: TaskResult, worse: TaskResult) -> bool:
    """Return whether the intervals do not overlap: only then is the first called better."""
    return better.interval[0] > worse.interval[1]


def verdict(first: TaskResult, second: TaskResult) -> str:
    """Return which of two policies is better on a task, if that may be said."""
    for better, worse in ((first, second), (second, first)):
        if separates(better, worse):
            return f'{better.policy} is better'
    return 'not told apart'


def leaders(results: Sequence[TaskResult]) -> list[TaskResult]:
    """Return the best policies on a task: all whose intervals do not separate from the best's; none if that is all."""
    best = max(results, key=lambda result: result.rate)
    first = [result for result in results if not separates(best, result)]
    return first if len(first) < len(results) else []


def rows_of(evaluation: Evaluation, tasks: TaskSet) -> list[tuple[TaskResult, ...]]:
    """Return what a table shows, one result per policy in each row: every task, each skill's tasks together, all."""
    skills = dict.fromkeys(tasks[name].skill for name in evaluation.tasks)
    groups = {f'all {skill} tasks': tasks.of_skill(skill) for skill in skills if len(skills) > 1}
    groups['all tasks'] = evaluation.tasks
    columns = [[evaluation.find(policy, task) for task in evaluation.tasks] for policy in evaluation.policies]
    rows = list(zip(*columns, strict=True))
    for name, members in groups.items():
        together = [[result for result in column if result.task in members] for column in columns]
        if len(together[0]) > 1:
            rows.append(tuple(pooled(column, name) for column in together))
    return rows


def pooled(results: Iterable[TaskResult], task: str) -> TaskResult:
    """Return several tasks' episodes of one policy as one result named `task`."""
    rows = list(results)
    return TaskResult(
        policy=rows[0].policy,
        model_version=rows[0].model_version,
        task=task,
        successes=tuple(success for row in rows for success in row.successes),
        steps=tuple(steps for row in rows for steps in row.steps),
        diverged=tuple(number for row in rows for number in row.diverged),
    )

"""What the runs of a study came to: one small file per run and seed, kept in the repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mtopt_bringup.evaluation import Evaluation, TaskResult, pooled
from mtopt_bringup.studies import Study, low_data
from mtopt_core.errors import MtoptError
from mtopt_core.tasks import TaskSet
from mtopt_core.whole_file import write_whole


class ResultError(MtoptError):
    """A result file is damaged or of another recipe."""


class RunResult(BaseModel):
    """One trained policy, measured.

    Attributes:
        run: Name of the run.
        seed: Of dataset and training.
        data: The command that made the dataset, without machine's paths.
        options: Of `mtopt train`.
        steps: Gradient steps.
        evaluation: What the policy does on the evaluation's seeds.
        started_from: Run whose policy it started from, or the version of a policy that was given; empty for none.
        detector: Version of the success detector whose outcomes it learned from; empty for the simulator's truth.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    run: str
    seed: int
    data: str
    options: tuple[str, ...]
    steps: int
    evaluation: Evaluation
    started_from: str = ''
    detector: str = ''

    def save(self, folder: Path) -> None:
        """Write it as `<folder>/<run>/seed-<seed>.json`, whole or not at all."""
        write_whole(path_of(folder, self.run, self.seed), self.model_dump_json() + '\n')


def path_of(folder: Path, run: str, seed: int) -> Path:
    """Return the file of a run's result."""
    return folder / run / f'seed-{seed}.json'


def load_result(folder: Path, run: str, seed: int) -> RunResult | None:
    """Read a run's result, none where there is none.

    Raises:
        ResultError: The file is damaged.
    """
    path = path_of(folder, run, seed)
    if not path.exists():
        return None
    try:
        return RunResult.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise ResultError(f'{path} is not a result of `mtopt study` ({error}); remove it to run again') from None


@dataclass(frozen=True)
class Row:
    """A run of a study over all its seeds.

    Attributes:
        run: Its name.
        seeds: Seeds it was run on.
        tasks: By task, the episodes of all seeds together.
        groups: The same of several tasks together, by the group's name.
        by_seed: By task or group, the rate of each seed.
    """

    run: str
    seeds: tuple[int, ...]
    tasks: Mapping[str, TaskResult]
    groups: Mapping[str, TaskResult]
    by_seed: Mapping[str, tuple[float, ...]]

    @property
    def rates(self) -> np.ndarray:
        """Success rate of every task, `(T,)`."""
        return np.array([result.rate for result in self.tasks.values()])


def row_of(run: str, results: Sequence[RunResult], study: Study, tasks: TaskSet) -> Row:
    """Gather a run's results.

    Args:
        run: Its name.
        results: Of its seeds, at least one.
        study: Says which tasks count.
        tasks: All tasks.
    """
    measured = [{result.task: result for result in one.evaluation.results} for one in results]
    names = [name for name in study.tasks or tasks.names if all(name in found for found in measured)]
    groups = {'all': names, 'low-data': [name for name in names if name in low_data(tasks)]}
    groups = {name: members for name, members in groups.items() if len(members) > 1}
    by_seed = {name: tuple(found[name].rate for found in measured) for name in names}
    for group, members in groups.items():
        by_seed[group] = tuple(float(np.mean([found[name].rate for name in members])) for found in measured)
    return Row(
        run=run,
        seeds=tuple(one.seed for one in results),
        tasks={name: pooled((found[name] for found in measured), name) for name in names},
        groups={
            group: pooled((found[name] for found in measured for name in members), group)
            for group, members in groups.items()
        },
        by_seed=by_seed,
    )


def rows_of_study(folder: Path, study: Study, tasks: TaskSet) -> list[Row]:
    """Return the rows of a study, of the runs that have a result.

    Raises:
        ResultError: A file is damaged.
    """
    rows = []
    for run in study.runs:
        found = [result for seed in study.seeds if (result := load_result(folder, run, seed)) is not None]
        if found:
            rows.append(row_of(run, found, study, tasks))
    return rows

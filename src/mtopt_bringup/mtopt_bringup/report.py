"""`mtopt report`: what a data folder holds and what was learned from it, as one web page without any other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from rich.console import Console

from mtopt_bringup import figures
from mtopt_bringup.changed_verdicts import compare_newest
from mtopt_bringup.data_contents import read_contents
from mtopt_bringup.dataset_summary import Example, examples, mistakes
from mtopt_bringup.episode_workers import ROBOT
from mtopt_bringup.evaluation import Evaluation, TaskResult, leaders, rows_of, verdict
from mtopt_bringup.impersonation_counts import count_impersonated, table_of_counts
from mtopt_bringup.stages import StageRecord
from mtopt_core.cadence import damaged_lines, read_cadence, summarise
from mtopt_core.catalogue import Row
from mtopt_core.checkpoint import AnyManifest, load_manifest, newest_checkpoint
from mtopt_core.command_options import TasksFile
from mtopt_core.configuration import MAIN
from mtopt_core.data_growth import growth
from mtopt_core.episode import Verdict
from mtopt_core.episode_bag import read_episode
from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import DataFolder
from mtopt_core.statistics import paired_test
from mtopt_core.tasks import TASKS_FILE, TaskSet, load_tasks
from mtopt_policy.manifest import PolicyManifest
from mtopt_success_detector.manifest import DetectorManifest

MISTAKES_SHOWN = 8
FIGURES = ('.png', '.svg')


def report(
    data: Annotated[Path, typer.Option(help='Data folder.', exists=True, file_okay=False)],
    out: Annotated[
        Path | None, typer.Option(help='The page; DATA/report.html by default. With --impersonation the figure.')
    ] = None,
    impersonation: Annotated[
        bool,
        typer.Option(
            '--impersonation',
            help='Only count what each task gains by impersonation: a table and a figure, PNG or SVG.',
        ),
    ] = False,
    tasks_file: TasksFile = TASKS_FILE,
) -> None:
    """Write a report on a data folder: one HTML file, to open in any browser or to send.

    How the data grew by task and outcome, what impersonation adds to each task, policies compared (evaluations in
    DATA/evaluations), final images with the verdicts on them, cadence of the graph.
    """
    folder, tasks = DataFolder(data), load_tasks(tasks_file)
    if impersonation:
        path = out or data / 'impersonation.png'
        write_impersonation(folder, path, tasks)
    else:
        path = out or data / 'report.html'
        write_report(folder, path, tasks)
    print(path)


def evaluations(data: DataFolder, tasks: TaskSet) -> list[Evaluation]:
    """Return a data folder's evaluations of tasks there are, oldest first."""
    found = [Evaluation.load(path).of(tasks) for path in (data.root / 'evaluations').glob('*.json')]
    return sorted((evaluation for evaluation in found if evaluation.results), key=lambda evaluation: evaluation.created)


def write_impersonation(data: DataFolder, out: Path, tasks: TaskSet) -> None:
    """Print how much data each task has by itself and gains by impersonation, and draw it.

    Args:
        data: The folder.
        out: The figure, PNG or SVG by its name.
        tasks: The tasks.

    Raises:
        EmptyFolderError: The folder holds no episode.
        ConfigurationError: The figure's name has another ending, or it cannot be written.
    """
    if out.suffix not in FIGURES:
        raise ConfigurationError(f'{out} cannot be drawn; end its name in {" or ".join(FIGURES)}')
    contents = read_contents(data, tasks)
    counts = count_impersonated(contents.rows, contents.verdicts, tasks)
    Console().print(table_of_counts(counts, tasks, contents.graded_by))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figures.save_impersonation(counts, tasks.names, out)
    except OSError as error:
        raise ConfigurationError(f'figure {out} cannot be written: {error.strerror}') from None


def write_report(data: DataFolder, out: Path, tasks: TaskSet, stages: Sequence[StageRecord] = ()) -> None:
    """Write the report on a data folder.

    Args:
        data: The folder.
        out: The page.
        tasks: The tasks.
        stages: How the folder came to be, if that is known.

    Raises:
        EmptyFolderError: The folder holds no episode.
    """
    contents = read_contents(data, tasks)
    rows, truth = contents.rows, contents.truth
    grown = growth(rows, contents.verdicts, tasks)
    compared = evaluations(data, tasks)
    compared_detectors = compare_newest(data, rows, tasks)
    cadences = summarise(read_cadence(data))
    page = _template().render(
        folder=data.root.absolute().name,
        written=datetime.now(UTC).strftime('%-d %B %Y, %H:%M UTC'),
        rows=rows,
        bulk=sum(row.robot == ROBOT for row in rows),
        steps=sum(row.steps for row in rows),
        set_aside=len(list(data.set_aside.glob('*'))) if data.set_aside.is_dir() else 0,
        graded_by=contents.graded_by,
        truth_known=bool(truth),
        growth=grown,
        growth_figure=figures.growth(grown),
        impersonation_figure=figures.impersonation(count_impersonated(rows, contents.verdicts, tasks), tasks.names),
        evaluation=compared[-1] if compared else None,
        rates_figure=figures.success_rates(compared[-1]) if compared else '',
        colours=figures.policy_colours(compared[-1].policies) if compared else {},
        comparison=_comparison(compared[-1], tasks) if compared else [],
        history=[_pooled_row(evaluation, tasks) for evaluation in compared],
        examples=[_picture(example) for example in examples(rows, contents.outcomes, truth, tasks)],
        mistakes=[_picture(example) for example in mistakes(rows, contents.outcomes, truth, tasks, MISTAKES_SHOWN)],
        comparison_of_detectors=compared_detectors,
        changes=[]
        if compared_detectors is None
        else [(change, _image(change.row)) for change in compared_detectors.examples(MISTAKES_SHOWN)],
        detector=_manifest(data, 'success_detector', DetectorManifest),
        policy=_manifest(data, 'policy', PolicyManifest),
        **{verdict.name: verdict for verdict in Verdict},
        cadences=[
            (cadence, figures.histogram([1e3 * time for time in cadence.step_times], 'wall time of a step, ms'))
            for cadence in cadences
        ],
        damaged_lines=damaged_lines(data),
        stages=stages,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page)


@dataclass(frozen=True)
class ComparedRow:
    """One task's line of the comparison.

    Attributes:
        task: Its name.
        results: One per policy.
        verdict: Which of two is better, if that may be said.
        p_value: Of the paired test on the same seeds; none unless two are compared.
        leaders: Of more than two, the best and those not told apart from it.
    """

    task: str
    results: tuple[TaskResult, ...]
    verdict: str = ''
    p_value: float | None = None
    leaders: tuple[TaskResult, ...] = ()


def _comparison(evaluation: Evaluation, tasks: TaskSet) -> list[ComparedRow]:
    return [_compared(results) for results in rows_of(evaluation, tasks)]


def _compared(results: tuple[TaskResult, ...]) -> ComparedRow:
    task = results[0].task
    if len(results) != 2:
        return ComparedRow(task, results, leaders=tuple(leaders(results)))
    first, second = results
    test = paired_test(first.successes, second.successes)
    return ComparedRow(task, results, verdict(first, second), test.p_value)


def _pooled_row(evaluation: Evaluation, tasks: TaskSet) -> tuple[str, tuple[TaskResult, ...]]:
    return evaluation.created, rows_of(evaluation, tasks)[-1]


@dataclass(frozen=True)
class Picture:
    """An example with its image, as the page shows it."""

    example: Example
    image: str


def _picture(example: Example) -> Picture:
    return Picture(example, _image(example.row))


def _image(row: Row) -> str:
    """Return an episode's final image as an address that holds it."""
    final = read_episode(row.path).final
    jpeg = final.images.get(MAIN) or next(iter(final.images.values()), b'')
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg).decode()


def _manifest(data: DataFolder, name: str, kind: type[AnyManifest]) -> AnyManifest | None:
    newest = newest_checkpoint(data.root / 'models' / name)
    return None if newest is None else load_manifest(newest, kind)


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader('mtopt_bringup', 'templates'),
        autoescape=select_autoescape(['html']),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['percent'] = lambda share: '–' if share is None else f'{100 * share:.0f} %'
    environment.filters['count'] = lambda number: f'{number:,}'.replace(',', '\u202f')
    return environment.get_template('report.html')

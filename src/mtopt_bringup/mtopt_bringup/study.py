"""`mtopt study`: train and measure what the paper compares, on our own cell."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mtopt_bringup import bootstrap
from mtopt_bringup.evaluation import Evaluation
from mtopt_bringup.stages import Stage, State, carry_out, require_same
from mtopt_bringup.studies import MT_OPT, RUNS, STUDIES, Run, find_study
from mtopt_bringup.study_results import RunResult, load_result, rows_of_study
from mtopt_bringup.study_tables import heading, markdown_table, markdown_tasks, terminal_table, write_figure
from mtopt_bringup.task_mixture import IMBALANCED
from mtopt_core.checkpoint import find_checkpoint
from mtopt_core.errors import ConfigurationError
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder, shipped
from mtopt_core.tasks import TASKS_FILE, load_tasks

EVALUATION_SEED = 1000
"""Of every evaluation, so that all policies are tried on the same scenes; datasets have others."""

FEW = bootstrap.Size(scripted=600, rounds=2, episodes=200, steps=500)
"""Of a dataset of new tasks: few episodes, as the paper's new tasks had."""

QUICK = bootstrap.Size(scripted=60, rounds=1, episodes=20, steps=20)


@dataclass(frozen=True)
class Laboratory:
    """Where and how the runs of a study are carried out.

    Attributes:
        out: Folder of datasets, checkpoints and figures.
        results: Folder of result files.
        size: Of the datasets.
        few: Of the datasets of new tasks.
        steps: Gradient steps of a full run.
        episodes: Evaluation episodes per task.
        workers: Simulation processes; 0 for one per core.
        threads: CPU threads of training; 0 for all.
        start: Policy that runs which start from another run's start from instead; none for that run's.
        detector: Success detector, or a folder of them, of runs that learn from a detector's outcomes; none for the
            shipped one.
    """

    out: Path
    results: Path
    size: bootstrap.Size
    few: bootstrap.Size
    steps: int
    episodes: int
    workers: int
    threads: int
    start: Path | None = None
    detector: Path | None = None

    def data(self, seed: int, run: Run) -> bootstrap.Plan:
        """Return a run's dataset: that of the seed and its action space, or one of new tasks alone."""
        kind = '' if run.setting == 'eased' else f'{run.setting}-'
        if run.tasks_file == TASKS_FILE:
            size, tasks = self.size, IMBALANCED
        else:
            kind, size, tasks = f'{kind}new-', self.few, ','.join(run.learned)
        folder = self.out / 'data' / f'{kind}seed-{seed}'
        return bootstrap.Plan(
            folder, size, seed, self.workers, self.threads, run.setting, tasks_file=run.tasks_file, tasks=tasks
        )

    def folder(self, run: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / 'runs' / run / f'seed-{seed}'

    def steps_of(self, run: Run) -> int:
        """Return the gradient steps of a run."""
        return max(1, round(self.steps * run.share_of_steps))

    def stages(self, name: str, seed: int) -> list[Stage]:
        """Return the stages of a run: grade its dataset where a detector says what it learns, train, evaluate."""
        run, folder = RUNS[name], self.folder(name, seed)
        data = self.data(seed, run)
        start = self.start or self.folder(run.start, seed) / 'policy'
        train = [
            *('train', '--bags', str(data.out), '--out', str(folder), '--outcomes', run.outcomes),
            *('--steps', str(self.steps_of(run)), '--threads', str(self.threads), '--set', f'seed={seed}'),
            *(('--from', str(start)) if run.start else ()),
            *run.arguments,
        ]
        evaluate = [
            *('evaluate', '--checkpoint', str(folder / 'policy'), '--episodes', str(self.episodes)),
            *('--seed', str(EVALUATION_SEED), '--workers', str(self.workers)),
            *('--json', str(folder / 'evaluation.json')),
            *('--tasks-file', run.tasks_file),
            *(('--tasks', ','.join(run.learned)) if run.learned else ()),
        ]
        relabel = [
            *('relabel', '--bags', str(data.out), '--detector', str(self._detector())),
            *('--tasks-file', run.tasks_file),
        ]
        grade = Stage('relabel', f'{name}, seed {seed}: grade its dataset', partial(list, relabel), fixed=True)
        return [
            *((grade,) if run.outcomes == 'detector' else ()),
            Stage('train', f'{name}, seed {seed}: train', partial(list, train), fixed=True),
            Stage('evaluate', f'{name}, seed {seed}: evaluate', partial(list, evaluate), fixed=True),
        ]

    def carry_out(self, name: str, seed: int, console: Console) -> None:
        """Make what is missing of dataset and policy to start from, train, evaluate, and keep the result.

        Raises:
            StageError: A stage failed.
            EvaluationError: The evaluation left no file that can be read.
            CheckpointError: The policy to start from, or the detector, that was given is none.
            ConfigurationError: Something was done with other options, or a newer detector has graded the dataset.
        """
        run, folder, again = RUNS[name], self.folder(name, seed), 'the same command'
        if run.start and self.start is None:
            self._train(run.start, seed, console)
        data = self.data(seed, run)
        if run.outcomes == 'detector':
            self._require_counting(data.out)
        for stages, path in (
            (bootstrap.stages_of(data), data.out / 'bootstrap.json'),
            (self.stages(name, seed), folder / 'state.json'),
        ):
            carry_out(stages, State.load(path), path, again, console)
        RunResult(
            run=name,
            seed=seed,
            data=data.command,
            options=run.arguments,
            steps=self.steps_of(run),
            evaluation=Evaluation.load(folder / 'evaluation.json'),
            started_from=find_checkpoint(self.start).name if run.start and self.start else run.start,
            detector=find_checkpoint(self._detector()).name if run.outcomes == 'detector' else '',
        ).save(self.results)

    def _detector(self) -> Path:
        return self.detector or shipped('models', 'success_detector')

    def _require_counting(self, folder: Path) -> None:
        """See that the detector's outcomes are those that will count in a dataset: the newest version's do."""
        data, version = DataFolder(folder), find_checkpoint(self._detector()).name
        if not data.labels.exists():
            return
        with closing(LabelStore(data)) as store:
            newer = [other for other in store.detector_versions() if other > version]
        if newer:
            raise ConfigurationError(
                f'detector {newer[-1]} has graded {folder} and is newer than {version}: its outcomes would be learned '
                f'from, and {version} be named. Give --detector that one, or take another --out'
            )

    def _train(self, name: str, seed: int, console: Console) -> None:
        """Train a run whose policy another one starts from, unless that was done, on its dataset."""
        path = self.folder(name, seed) / 'state.json'
        state, (*training, _) = State.load(path), self.stages(name, seed)
        if training[-1].name in {record.name for record in state.stages}:
            require_same(training, state, path)
            return
        data = self.data(seed, RUNS[name])
        data_path = data.out / 'bootstrap.json'
        carry_out(bootstrap.stages_of(data), State.load(data_path), data_path, 'the same command', console)
        carry_out(training, state, path, 'the same command', console)


def study(
    name: Annotated[str, typer.Argument(help=f'One of {", ".join(STUDIES)}.')],
    out: Annotated[
        Path | None,
        typer.Option(
            help='Folder of datasets, checkpoints, tables and figures. Without, out/studies, or out/studies-quick.'
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help='Folder of result files, one per run and seed; those that are there are not run again. Without, '
            'results, or with --quick a folder of that name in --out.'
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help='Only these, separated by commas.')] = None,
    runs: Annotated[str | None, typer.Option(help='Only these, separated by commas.')] = None,
    quick: Annotated[bool, typer.Option('--quick', help='Everything, but so little that nothing is learned.')] = False,
    steps: Annotated[int, typer.Option(min=1, help='Gradient steps of a full run.')] = 4000,
    episodes: Annotated[int, typer.Option(min=1, help='Evaluation episodes per task.')] = 100,
    workers: Annotated[int, typer.Option(min=0, help='Simulation processes; 0 takes one per core.')] = 0,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of training; 0 takes all cores.')] = 0,
    start: Annotated[
        Path | None,
        typer.Option(
            '--from',
            help='Policy that study new-task fine-tunes: a checkpoint, or a folder of them. Without, that of run '
            f'{MT_OPT}, which is trained first where it is missing.',
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            help='Success detector that study outcomes learns from: a checkpoint, or a folder of them. Without, the '
            'shipped one.'
        ),
    ] = None,
    show: Annotated[bool, typer.Option('--show', help='Run nothing, show what there is.')] = False,
    markdown: Annotated[
        bool, typer.Option('--markdown', help='Print the tables as Markdown, task by task too.')
    ] = False,
) -> None:
    """Compare ways of training as the paper does.

    Every seed has a dataset of its own, made by `mtopt bootstrap`. Each run is trained on it, evaluated on the same
    scenes as the others, and leaves a result file. Ctrl-C stops; the same command goes on from there, also on another
    machine that has the result files.
    """
    chosen, console = find_study(name), Console()
    tasks = load_tasks(chosen.tasks_file)
    size, few = bootstrap.USUAL, FEW
    out = out or Path('out/studies-quick' if quick else 'out/studies')
    results = results or (out / 'results' if quick else Path('results'))
    if quick:
        size, few, steps, episodes = QUICK, QUICK, QUICK.steps, 2
    laboratory = Laboratory(out, results, size, few, steps, episodes, workers, threads, start, detector)
    wanted = [
        (run, seed)
        for seed in (_listed(seeds, chosen.seeds, int) if seeds else chosen.seeds)
        for run in (_listed(runs, tuple(chosen.runs), str) if runs else chosen.runs)
        if load_result(results, run, seed) is None
    ]
    for number, (run, seed) in enumerate(wanted, 1):
        if show:
            break
        console.rule(f'[bold]run {number} of {len(wanted)}[/]')
        laboratory.carry_out(run, seed, console)
    rows = rows_of_study(results, chosen, tasks)
    if not rows:
        raise ConfigurationError(f'there are no results of study {name} in {results}; run it without --show')
    if markdown:
        print(f'{heading(name, chosen, rows)}\n\n{markdown_table(chosen, rows)}\n\n{markdown_tasks(rows)}')
    else:
        console.print(terminal_table(name, chosen, rows))
    write_figure(chosen, rows, out / f'{name}.svg')
    console.print(f'figure: {out / f"{name}.svg"}')


def _listed(text: str, known: tuple, kind: type) -> list:
    """Return the values of a comma-separated list.

    Raises:
        ConfigurationError: One is not known.
    """
    try:
        values = [kind(part.strip()) for part in text.split(',')]
    except ValueError:
        values = [text]
    for value in values:
        if value not in known:
            raise ConfigurationError(f'the study has no {value!r}; known: {", ".join(map(str, known))}')
    return values

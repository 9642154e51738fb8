"""`mtopt study`: train and measure what the paper compares, on our own cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mtopt_bringup import bootstrap
from mtopt_bringup.evaluation import Evaluation
from mtopt_bringup.stages import Stage, State, carry_out
from mtopt_bringup.studies import RUNS, STUDIES, Run, find_study
from mtopt_bringup.study_results import RunResult, load_result, rows_of_study
from mtopt_bringup.study_tables import heading, markdown_table, markdown_tasks, terminal_table, write_figure
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import load_tasks

EVALUATION_SEED = 1000
"""Of every evaluation, so that all policies are tried on the same scenes; datasets have others."""

QUICK = bootstrap.Size(scripted=60, rounds=1, episodes=20, steps=20)


@dataclass(frozen=True)
class Laboratory:
    """Where and how the runs of a study are carried out.

    Attributes:
        out: Folder of datasets, checkpoints and figures.
        results: Folder of result files.
        size: Of the datasets.
        steps: Gradient steps of a full run.
        episodes: Evaluation episodes per task.
        workers: Simulation processes; 0 for one per core.
        threads: CPU threads of training; 0 for all.
    """

    out: Path
    results: Path
    size: bootstrap.Size
    steps: int
    episodes: int
    workers: int
    threads: int

    def data(self, seed: int, setting: bootstrap.Setting) -> bootstrap.Plan:
        """Return the dataset of a seed in an action space."""
        folder = self.out / 'data' / (f'seed-{seed}' if setting == 'eased' else f'{setting}-seed-{seed}')
        return bootstrap.Plan(folder, self.size, seed, self.workers, self.threads, setting)

    def folder(self, run: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / 'runs' / run / f'seed-{seed}'

    def steps_of(self, run: Run) -> int:
        """Return the gradient steps of a run."""
        return max(1, round(self.steps * run.share_of_steps))

    def stages(self, name: str, seed: int) -> list[Stage]:
        """Return the stages of a run: train, evaluate."""
        run, folder = RUNS[name], self.folder(name, seed)
        data = self.data(seed, run.setting)
        train = [
            *('train', '--bags', str(data.out), '--out', str(folder), '--outcomes', 'simulator'),
            *('--steps', str(self.steps_of(run)), '--threads', str(self.threads), '--set', f'seed={seed}'),
            *run.arguments,
        ]
        evaluate = [
            *('evaluate', '--checkpoint', str(folder / 'policy'), '--episodes', str(self.episodes)),
            *('--seed', str(EVALUATION_SEED), '--workers', str(self.workers)),
            *('--json', str(folder / 'evaluation.json')),
            *(('--tasks', ','.join(run.learned)) if run.learned else ()),
        ]
        return [
            Stage('train', f'{name}, seed {seed}: train', partial(list, train)),
            Stage('evaluate', f'{name}, seed {seed}: evaluate', partial(list, evaluate)),
        ]

    def carry_out(self, name: str, seed: int, console: Console) -> None:
        """Make the dataset where it is missing, train, evaluate, and keep the result.

        Raises:
            StageError: A stage failed.
            EvaluationError: The evaluation left no file that can be read.
        """
        data, folder, again = self.data(seed, RUNS[name].setting), self.folder(name, seed), 'the same command'
        for stages, path in (
            (bootstrap.stages_of(data), data.out / 'bootstrap.json'),
            (self.stages(name, seed), folder / 'state.json'),
        ):
            carry_out(stages, State.load(path), path, again, console)
        RunResult(
            run=name,
            seed=seed,
            data=data.command,
            options=RUNS[name].arguments,
            steps=self.steps_of(RUNS[name]),
            evaluation=Evaluation.load(folder / 'evaluation.json'),
        ).save(self.results)


def study(
    name: Annotated[str, typer.Argument(help=f'One of {", ".join(STUDIES)}.')],
    out: Annotated[Path, typer.Option(help='Folder of datasets, checkpoints, tables and figures.')] = Path(
        'out/studies'
    ),
    results: Annotated[
        Path, typer.Option(help='Folder of result files, one per run and seed; those that are there are not run again.')
    ] = Path('results'),
    seeds: Annotated[str | None, typer.Option(help='Only these, separated by commas.')] = None,
    runs: Annotated[str | None, typer.Option(help='Only these, separated by commas.')] = None,
    quick: Annotated[bool, typer.Option('--quick', help='Everything, but so little that nothing is learned.')] = False,
    steps: Annotated[int, typer.Option(min=1, help='Gradient steps of a full run.')] = 4000,
    episodes: Annotated[int, typer.Option(min=1, help='Evaluation episodes per task.')] = 100,
    workers: Annotated[int, typer.Option(min=0, help='Simulation processes; 0 takes one per core.')] = 0,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of training; 0 takes all cores.')] = 0,
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
    chosen, tasks, console = find_study(name), load_tasks(), Console()
    size = bootstrap.USUAL
    if quick:
        size, steps, episodes = QUICK, QUICK.steps, 2
    laboratory = Laboratory(out, results, size, steps, episodes, workers, threads)
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

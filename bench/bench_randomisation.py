"""What does varying light, colours and cameras in training change, in MuJoCo and in a simulator never seen?

For each factor on how much looks vary: the same number of episodes of the aimed script, a policy with as many gradient
steps, and its success on the same seeds in MuJoCo, with usual and with wide looks, and in Gazebo. It goes on where it
was stopped, on another machine too: a factor whose evaluations are all in `results/randomisation` is not run again.
`--show` shows what there is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from measuring import load
from rich.console import Console
from rich.table import Table

from mtopt_bringup.bootstrap import AIM
from mtopt_bringup.evaluation import Evaluation
from mtopt_bringup.evaluation_table import percent_with_interval
from mtopt_bringup.stages import Stage, State, carry_out
from mtopt_bringup.study import EVALUATION_SEED
from mtopt_core.environment import prepare
from mtopt_policy.policies import LEARNED

WIDE = 2.0
"""Factor of the wide looks."""
WHERE = {
    'MuJoCo': ('--sim', 'mujoco'),
    f'MuJoCo, looks {WIDE:g}': ('--sim', 'mujoco', '--looks', str(WIDE)),
    'Gazebo': ('--sim', 'gazebo'),
}
"""Options of `mtopt evaluate`, by what the table calls it."""


def result_of(folder: Path, place: str) -> Path:
    """Return the file of an evaluation."""
    return folder / f'{place.replace(", ", "_").replace(" ", "_").lower()}.json'


def stages_of(
    folder: Path, results: Path, looks: float, tasks: str, collected: int, steps: int, episodes: int
) -> list[Stage]:
    """Return what is done for one factor, one process and one thread at a time: collect, train, evaluate everywhere."""
    simulate = [
        *('simulate', '--out', str(folder), '--episodes', str(collected), '--tasks', tasks, '--aim', str(AIM)),
        *('--looks', str(looks), '--workers', '1'),
    ]
    train = [
        *('train', '--bags', str(folder), '--out', str(folder / 'models'), '--outcomes', 'simulator'),
        *('--tasks', tasks, '--steps', str(steps), '--threads', '1'),
    ]
    evaluate = [
        *('evaluate', '--checkpoint', str(folder / 'models' / 'policy'), '--tasks', tasks, '--workers', '1'),
        *('--episodes', str(episodes), '--seed', str(EVALUATION_SEED)),
    ]
    name = f'looks {looks:g}'
    return [
        Stage('simulate', f'{name}: collect', partial(list, simulate)),
        Stage('train', f'{name}: train', partial(list, train)),
        *(
            Stage(
                place, f'{name}: {place}', partial(list, [*evaluate, *where, '--json', str(result_of(results, place))])
            )
            for place, where in WHERE.items()
        ),
    ]


def main(
    folder: Annotated[Path, typer.Argument(help='Folder for episodes and policies.')] = Path('out/randomisation'),
    results: Annotated[Path, typer.Option(help='Folder of the evaluations, kept in the repository.')] = Path(
        'results/randomisation'
    ),
    looks: Annotated[str, typer.Option(help='Factors in training, separated by commas.')] = '0,1,2',
    tasks: Annotated[str, typer.Option(help='Names separated by commas.')] = 'lift-any,place-any',
    collected: Annotated[int, typer.Option(min=1, help='Scripted episodes to learn from, for each factor.')] = 4000,
    steps: Annotated[int, typer.Option(min=1, help='Gradient steps.')] = 1500,
    episodes: Annotated[int, typer.Option(min=1, help='Evaluation episodes per task.')] = 100,
    show: Annotated[bool, typer.Option('--show', help='Run nothing, show what there is.')] = False,
) -> None:
    """Print how often each policy solves each task."""
    prepare()
    console = Console()
    factors = [float(factor) for factor in looks.split(',')]
    evaluations = {factor: results / f'looks-{factor:g}' for factor in factors}
    for factor, found in evaluations.items():
        if not show and not all(result_of(found, where).exists() for where in WHERE):
            out = folder / f'looks-{factor:g}'
            stages = stages_of(out, found, factor, tasks, collected, steps, episodes)
            carry_out(stages, State.load(out / 'state.json'), out / 'state.json', 'the same command', console)
    console.print(table_of(evaluations, tasks.split(',')))
    print(load())


def table_of(folders: dict[float, Path], tasks: list[str]) -> Table:
    """Return how often the policies solve each task, of the evaluations there are."""
    found = {
        (factor, place): Evaluation.load(result_of(folder, place))
        for factor, folder in folders.items()
        for place in WHERE
        if result_of(folder, place).exists()
    }
    said = [f'looks {factor:g}, {place}: {one.diverged}' for (factor, place), one in found.items() if one.diverged]
    sizes = ', '.join(str(number) for number in sorted({one.episodes for one in found.values()}))
    title = f'{sizes} episodes a task, seed {EVALUATION_SEED}, 95 % Wilson intervals'
    table = Table('task', 'looks in training', *WHERE, title=title, caption='\n'.join(said) or None)
    for task in tasks:
        for factor in folders:
            results = [
                percent_with_interval(found[factor, place].find(LEARNED, task)) if (factor, place) in found else '-'
                for place in WHERE
            ]
            table.add_row(task, f'{factor:g}', *results)
    return table


if __name__ == '__main__':
    typer.run(main)

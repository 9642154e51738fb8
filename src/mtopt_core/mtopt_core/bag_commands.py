"""List, check and salvage the recorded episodes of a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mtopt_core.bag import partial_bags, partial_path, salvage, set_aside
from mtopt_core.catalogue import Catalogue
from mtopt_core.episode_bag import read_episode
from mtopt_core.errors import BagBusyError, BagError, BagUnreachableError, DiskFullError
from mtopt_core.label_store import DEFAULT_SOURCES, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode='markdown')
Folder = Annotated[Path, typer.Argument(help='Data folder; its bags lie in `bags`.', exists=True, file_okay=False)]


@app.command('list', epilog='Example: `mtopt bags list data --task lift-sausage --outcomes simulator`')
def list_bags(
    folder: Folder,
    task: Annotated[str | None, typer.Option(help='Only episodes that attempted this task.')] = None,
    skill: Annotated[str | None, typer.Option(help='Only episodes of this skill.')] = None,
    policy: Annotated[str | None, typer.Option(help='Only episodes of this policy: scripted or learned.')] = None,
    outcomes: Annotated[
        list[str] | None, typer.Option(help='Whose outcome to show, first come first; human, detector by default.')
    ] = None,
    last: Annotated[int, typer.Option(help='List only so many, the newest.', min=1)] = 50,
) -> None:
    """List episodes: what was attempted, by whom, how it ended and what came of it."""
    data = DataFolder(folder)
    catalogue = Catalogue(data)
    with progress_bar('Reading new bags') as report:
        catalogue.refresh(report)
    rows = catalogue.episodes(task, skill, policy)
    known = LabelStore(data).all_outcomes(outcomes or DEFAULT_SOURCES)
    table = Table(
        'episode',
        'task',
        'policy',
        'steps',
        'ended by',
        'outcome',
        caption=f'the last {min(last, len(rows))} of {len(rows)}',
    )
    for row in rows[-last:]:
        outcome = known.get(row.episode_id, {}).get(row.task)
        table.add_row(
            row.episode_id,
            row.task,
            f'{row.policy} {row.model_version}',
            str(row.steps),
            row.termination.name.lower(),
            outcome.verdict.name.lower() if outcome else '',
        )
    Console().print(table)


@app.command(epilog='Example: `mtopt bags check data`, after copying bags from another machine')
def check(
    folder: Folder,
    again: Annotated[bool, typer.Option('--again', help='Read every bag again, not only new ones.')] = False,
) -> None:
    """Read new bags in full and move those that cannot be used to `set_aside`, each with a reason.txt.

    Exit status 1 means that some were moved, or could not be read now.
    """
    catalogue = Catalogue(DataFolder(folder))
    with progress_bar('Reading bags') as report:
        done = catalogue.rebuild(report) if again else catalogue.refresh(report)
    for path in done.set_aside:
        print(f'{path}: {(path / "reason.txt").read_text().strip()}')
    for reason in done.unreachable:
        print(reason)
    cut_off = len(partial_bags(DataFolder(folder).bags))
    print(
        f'{len(catalogue.episodes())} episodes, {done.added} of them new; {len(done.set_aside)} set aside, '
        f'{len(done.unreachable)} cannot be read now, {done.removed} gone, {cut_off} being written or cut off'
    )
    if done.set_aside or done.unreachable:
        raise typer.Exit(1)


@app.command('salvage', epilog='Example: `mtopt bags salvage data`, after a power failure')
def salvage_bags(folder: Folder) -> None:
    """Make usable bags of those a crash cut off and of damaged ones that were set aside.

    Everything up to the damage is kept: after a recorder was killed, all but its last chunk. A bag that stays unusable
    stays set aside.
    """
    data = DataFolder(folder)
    aside = sorted(data.set_aside.glob('*'))
    for partial in partial_bags(data.bags):
        try:
            print(f'{salvage(partial)}: salvaged')
        except (BagBusyError, BagUnreachableError, DiskFullError) as error:
            print(f'{error}')
        except BagError as error:
            print(f'{set_aside(partial, str(error))}: {error}')
    for path in aside:
        try:
            print(f'{_salvage_copy(path, data.bags)}: salvaged')
        except BagError as error:
            print(f'{path}: {error}')
        else:
            shutil.rmtree(path)


def _salvage_copy(path: Path, bags: Path) -> Path:
    """Salvage a copy of a bag that was set aside; the bag itself stays, for nothing may be lost if that fails.

    Raises:
        BagError: It cannot be salvaged, or what is left of it is no episode.
    """
    partial = partial_path(bags, path.name)
    target: Path | None = None
    try:
        shutil.copytree(path, partial, ignore=shutil.ignore_patterns('reason.txt'))
        target = salvage(partial)
        read_episode(target)
    except (BagError, OSError) as error:
        for made in (partial, target):
            if made is not None:
                shutil.rmtree(made, ignore_errors=True)
        raise BagError(str(error)) from None
    return target

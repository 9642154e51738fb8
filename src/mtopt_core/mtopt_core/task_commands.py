"""Add, remove and rename tasks; old episodes, labels and checkpoints stay of use."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mtopt_core.errors import ConfigurationError
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.task_file import added, open_task_file, removed, renamed, write_task_file
from mtopt_core.tasks import Task, load_tasks

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode='markdown')

File = Annotated[
    str, typer.Option('--tasks-file', help='Task file to change; where there is none, it begins as the shipped one.')
]
Bags = Annotated[
    list[Path], typer.Option('--bags', help='Data folder whose outcomes get the new name; may be repeated.')
]


@app.callback()
def _task() -> None:
    """Add, remove and rename tasks; old episodes, labels and checkpoints stay of use."""


@app.command(epilog='Example: `mtopt task add lift-cup --skill lift --object cup --tasks-file data/tasks.yaml`')
def add(
    name: Annotated[str, typer.Argument(help='Name of the task.')],
    skill: Annotated[str, typer.Option(help='Skill it belongs to.')],
    tasks_file: File,
    about: Annotated[str | None, typer.Option('--object', help='Category of object it is about; any without.')] = None,
    section: Annotated[str | None, typer.Option(help='Section of the plate it is about; any without.')] = None,
) -> None:
    """Add a task at the end of the one-hot, or bring one back that was removed.

    Then label some episodes for it, `mtopt detector train --from` the last detector, `mtopt relabel` the old episodes,
    and `mtopt train --from` the last policy: both networks grow by the task and keep what they know.
    """
    task = Task(name=_name(name), skill=skill, object=about, section=section)
    tasks = added(open_task_file(tasks_file), task)
    write_task_file(tasks_file, tasks)
    print(f'{tasks_file}: {len(tasks)} tasks, {name} is number {tasks.index(name) + 1}')


@app.command(epilog='Example: `mtopt task remove lift-cup --tasks-file data/tasks.yaml`')
def remove(name: Annotated[str, typer.Argument(help='Name of the task.')], tasks_file: File) -> None:
    """Retire a task: nothing attempts it any more.

    It keeps its place in the one-hot, so that checkpoints fit as before, and its labels and episodes stay; `mtopt task
    add` with the same description brings it back.
    """
    write_task_file(tasks_file, removed(open_task_file(tasks_file), name))
    print(f'{tasks_file}: {name} is retired')


@app.command(epilog='Example: `mtopt task rename lift-can lift-tin --tasks-file data/tasks.yaml --bags data`')
def rename(
    old: Annotated[str, typer.Argument(help='Its name so far.')],
    new: Annotated[str, typer.Argument(help='Its name from now on.')],
    tasks_file: File,
    bags: Bags = [],  # noqa: B006 # typer reads it, nobody writes it
) -> None:
    """Rename a task in the task file and in the outcomes of data folders.

    Bags and checkpoints are not touched: the file remembers the old name, which goes on meaning the task.
    """
    tasks = renamed(open_task_file(tasks_file), old, _name(new))
    for folder in bags:
        if not folder.is_dir():
            raise ConfigurationError(f'there is no data folder {folder}; nothing was renamed')
    for folder in bags:
        with closing(LabelStore(DataFolder(folder))) as store:
            print(f'{folder}: outcomes of {store.rename_task(old, new)} episodes')
    write_task_file(tasks_file, tasks)
    print(f'{tasks_file}: {old} is {new} from now on')


@app.command('list', epilog='Example: `mtopt task list --tasks-file data/tasks.yaml`')
def list_(tasks_file: File = '') -> None:
    """Show the tasks of a file in one-hot order."""
    table = Table('', 'task', 'skill', 'object', 'section', 'formerly', '', box=SIMPLE_HEAD)
    for number, task in enumerate(load_tasks(tasks_file).tasks, 1):
        state = 'retired' if task.retired else ''
        row = (task.name, task.skill, task.object or 'any', task.section or '', ', '.join(task.formerly), state)
        table.add_row(str(number), *row)
    Console().print(table)


def _name(name: str) -> str:
    """Return a name that files, options and topics can bear.

    Raises:
        ConfigurationError: It is none.
    """
    if not re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*', name):
        raise ConfigurationError(f'{name!r} is no name for a task; take lower-case words joined by hyphens')
    return name

"""Changing a task file so that nothing that depends on it breaks: the one-hot's order stays, and old names are kept."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import Skill, Task, TaskSet, load_tasks
from mtopt_core.whole_file import write_whole


def added(tasks: TaskSet, task: Task) -> TaskSet:
    """Return the tasks with one more at the end, or with a retired one of the same description brought back.

    Raises:
        ConfigurationError: The name is taken, or the skill unknown.
    """
    retired = next((old for old in tasks.tasks if old.retired and old.name == task.name), None)
    if retired is not None and retired.model_copy(update={'retired': False, 'formerly': ()}) == task:
        return _replaced(tasks, retired, retired.model_copy(update={'retired': False}))
    return _checked(tasks, (*tasks.tasks, task))


def removed(tasks: TaskSet, name: str) -> TaskSet:
    """Return the tasks with one retired: its place in the one-hot and its data stay, nothing attempts it any more.

    Raises:
        UnknownTaskError: There is no such task.
        ConfigurationError: It is the last one.
    """
    result = _replaced(tasks, tasks[name], tasks[name].model_copy(update={'retired': True}))
    if not result.attempted:
        raise ConfigurationError(f'{name} is the last task; a cell needs one')
    return result


def renamed(tasks: TaskSet, old: str, new: str) -> TaskSet:
    """Return the tasks with one under a new name; its old name goes on meaning it.

    Raises:
        UnknownTaskError: There is no such task.
        ConfigurationError: The new name is taken, or was once another task's.
    """
    task = tasks[old]
    formerly = (*(name for name in task.formerly if name != new), old)
    return _replaced(tasks, task, task.model_copy(update={'name': new, 'formerly': formerly}))


def open_task_file(file: str) -> TaskSet:
    """Read a task file that is to be changed; one that does not exist begins as the shipped one.

    Raises:
        ConfigurationError: It cannot be read, or it is not clear which one is meant.
    """
    return load_tasks(file if Path(file).exists() else '')


def write_task_file(file: str, tasks: TaskSet) -> None:
    """Write a task file, whole or not at all; comments at its beginning stay.

    Raises:
        ConfigurationError: It cannot be written.
    """
    path = Path(file)
    before = path.read_text().splitlines() if path.exists() else []
    comments = before[: next((n for n, line in enumerate(before) if not line.startswith('#')), 0)]
    lines = [*comments, 'skills:']
    lines += [f'  {name}: {{{_skill(skill)}}}' for name, skill in tasks.skills.items()]
    lines += ['tasks:', *(f'  - {{{_fields(task)}}}' for task in tasks.tasks)]
    try:
        write_whole(path, '\n'.join(lines) + '\n')
    except OSError as error:
        raise ConfigurationError(f'task file {path} cannot be written: {error.strerror}') from None


def _skill(skill: Skill) -> str:
    fields = f'start_region: {skill.start_region}'
    if skill.mirrored_sections is None:
        return fields
    exchanges = ', '.join(f'{section}: {other}' for section, other in skill.mirrored_sections.items())
    return f'{fields}, mirrored_sections: {{{exchanges}}}'


def _fields(task: Task) -> str:
    fields = {name: value for name, value in task.model_dump().items() if value not in (None, (), False)}
    if task.retired:
        fields['retired'] = 'true'
    if task.formerly:
        fields['formerly'] = f'[{", ".join(task.formerly)}]'
    return ', '.join(f'{name}: {value}' for name, value in fields.items())


def _replaced(tasks: TaskSet, old: Task, new: Task) -> TaskSet:
    return _checked(tasks, tuple(new if task == old else task for task in tasks.tasks))


def _checked(tasks: TaskSet, new: tuple[Task, ...]) -> TaskSet:
    try:
        return TaskSet(skills=tasks.skills, tasks=new)
    except ValidationError as error:
        reasons = '; '.join(fault['msg'].removeprefix('Value error, ') for fault in error.errors())
        raise ConfigurationError(f'the task set would be wrong: {reasons}') from None

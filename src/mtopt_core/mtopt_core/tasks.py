"""Tasks and skills (paper section VII-A): their names, their one-hot order, what solves them."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mtopt_core.errors import ConfigurationError, UnknownTaskError
from mtopt_core.paths import shipped

TASKS_FILE = 'tasks.yaml'
"""The task file in `config/` that everything uses unless told otherwise."""


class Skill(BaseModel):
    """A set of tasks that share semantics and dynamics (paper section IV-B).

    Attributes:
        start_region: Bin above which the arm starts an episode.
        mirrored_sections: Which section of the plate each becomes in a mirror that exchanges left and right; those not
            named stay what they are. None where a mirror makes something that could not be.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    start_region: str
    mirrored_sections: dict[str, str] | None = None

    @model_validator(mode='after')
    def _mirrored_twice_is_as_before(self) -> Skill:
        mirrored = self.mirrored_sections or {}
        if any(mirrored.get(other) != section for section, other in mirrored.items()):
            raise ValueError(f'mirrored_sections must name every exchange both ways, got {mirrored}')
        return self

    def mirrored(self, section: str | None) -> str | None:
        """Return what a section becomes in a mirror."""
        return (self.mirrored_sections or {}).get(section or '', section)


class Task(BaseModel):
    """One task; its position in the file is its place in the one-hot.

    Attributes:
        name: Unique name, for instance `lift-sausage`.
        skill: Skill it belongs to.
        object: Category that must be lifted, or that another object must be covered with; none means any object.
        section: Section of the plate the object must lie in; none means anywhere on it.
        formerly: Names it had before; bags and checkpoints that say them mean this task.
        retired: Nothing attempts it any more. It keeps its place in the one-hot, and its data.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    name: str
    skill: str
    object: str | None = None
    section: str | None = None
    formerly: tuple[str, ...] = ()
    retired: bool = False

    @property
    def broad(self) -> bool:
        """Whether it is its skill's general task, which any object or any section solves."""
        return self.object is None and self.section is None


class TaskSet(BaseModel):
    """All tasks and skills, in one-hot order."""

    model_config = ConfigDict(extra='forbid', frozen=True)
    skills: dict[str, Skill]
    tasks: tuple[Task, ...]

    @model_validator(mode='after')
    def _consistent(self) -> TaskSet:
        names = Counter(name for task in self.tasks for name in (task.name, *task.formerly))
        double = [name for name, count in names.items() if count > 1]
        if double:
            raise ValueError(f'task names occur twice: {", ".join(double)}')
        for task in self.tasks:
            if task.skill not in self.skills:
                raise ValueError(f'task {task.name} has unknown skill {task.skill}; known: {", ".join(self.skills)}')
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Task names in one-hot order."""
        return tuple(task.name for task in self.tasks)

    @cached_property
    def mirrored(self) -> tuple[int | None, ...]:
        """By task, in one-hot order, the task it becomes in a mirror; none where there is no such task."""
        places = {(task.skill, task.object, task.section): place for place, task in enumerate(self.tasks)}
        return tuple(
            None
            if (skill := self.skills[task.skill]).mirrored_sections is None
            else places.get((task.skill, task.object, skill.mirrored(task.section)))
            for task in self.tasks
        )

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.tasks)

    def __getitem__(self, name: str) -> Task:
        """Return the task of that name.

        Raises:
            UnknownTaskError: There is none.
        """
        return self.tasks[self.index(name)]

    def index(self, name: str) -> int:
        """Return the task's place in the one-hot.

        Raises:
            UnknownTaskError: There is no such task.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise UnknownTaskError(f'unknown task {name!r}; known: {", ".join(self.names)}') from None

    def one_hot(self, name: str) -> np.ndarray:
        """Return the task's one-hot vector, `(tasks,) float32`."""
        vector = np.zeros(len(self), np.float32)
        vector[self.index(name)] = 1
        return vector

    def current_name(self, name: str) -> str:
        """Return the name that a task has now, which may have had another one; an unknown name as it is."""
        return next((task.name for task in self.tasks if name in task.formerly), name)

    @property
    def attempted(self) -> tuple[Task, ...]:
        """The tasks that are attempted: those that are not retired."""
        return tuple(task for task in self.tasks if not task.retired)

    def of_skill(self, skill: str) -> tuple[str, ...]:
        """Return the names of a skill's tasks, in one-hot order."""
        return tuple(task.name for task in self.tasks if task.skill == skill)


def load_tasks(file: str | Path = '') -> TaskSet:
    """Read a task set.

    Args:
        file: A path, or the name alone of one of the files in `config/`. Empty for the shipped `TASKS_FILE`.

    Raises:
        ConfigurationError: The file cannot be read or breaks a rule, and the message names file and field; or a name
            alone could be that of two different files.
    """
    path = _found(file) if file else shipped('config', TASKS_FILE)
    try:
        return TaskSet.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f'task file {path}: {error}') from None


def _found(file: str | Path) -> Path:
    path = Path(file)
    if len(path.parts) > 1 or str(file).startswith('./'):  # which Path forgets
        return path
    try:
        ours = shipped('config', path.name)
    except ConfigurationError:
        if path.exists():
            return path
        raise
    if path.is_file() and path.read_bytes() != ours.read_bytes():
        raise ConfigurationError(
            f'{path} is both a file here and a shipped one, and they differ: write ./{path} for the one here, or {ours}'
        )
    return ours

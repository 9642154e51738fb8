"""True outcomes by geometry: what a person would say of the final scene, asked of the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mtopt_core.tasks import Task, TaskSet
from mtopt_sim.errors import SimulationError

# Higher than any object stands on the bottom, and twice the bins' walls.
LIFTED_HEIGHT = 0.10
# An object that rests on the plate, or leans on another there, reaches below the bin's rim.
RESTING_HEIGHT = 0.05


@dataclass(frozen=True)
class ObjectState:
    """One object at the end of an episode.

    Attributes:
        lowest: Height of its lowest point over the bins' bottom, m.
        held: Both fingers touch it.
        touched: Some part of the gripper touches it.
        section: Section of the plate its centre of mass is over; None beside the plate.
        covered: The cloth lies over its middle, seen from above.
    """

    lowest: float
    held: bool
    touched: bool
    section: str | None
    covered: bool = False


def outcomes(task_set: TaskSet, objects: dict[str, ObjectState], placed: str | None) -> dict[str, bool]:
    """Return for every task whether it is solved.

    A lift is solved by an object of the task's category between the fingers, its lowest point at least
    `LIFTED_HEIGHT` over the bottom. A place is about one object, the one in the hand when the episode began: it rests
    on the plate, within the rim, in the task's section, and the gripper has let go of it; it must be the task's object
    where the task names one. Covering is about that object too, which must be the task's: it lies over the middle of
    another, and the gripper has let go of it.

    Args:
        task_set: The tasks.
        objects: State of every object in the scene, by category.
        placed: Category of the object held when the episode began; none: every place has failed.

    Raises:
        SimulationError: A task's skill is none the simulator can judge.
    """
    judges: dict[str, Callable[[Task], bool]] = {
        'lift': lambda task: _is_lifted(task, objects),
        'place': lambda task: placed is not None and _is_placed(task, placed, objects[placed]),
        'cover': lambda task: placed is not None and placed == task.object and _is_covering(objects[placed], objects),
    }
    unknown = {task.skill for task in task_set.tasks} - judges.keys()
    if unknown:
        raise SimulationError(f'the simulator judges the skills {", ".join(judges)}, not {", ".join(sorted(unknown))}')
    return {task.name: judges[task.skill](task) for task in task_set.tasks}


def _is_lifted(task: Task, objects: dict[str, ObjectState]) -> bool:
    wanted = [state for name, state in objects.items() if task.object in (None, name)]
    return any(state.held and state.lowest >= LIFTED_HEIGHT for state in wanted)


def _is_placed(task: Task, name: str, state: ObjectState) -> bool:
    on_plate = state.section is not None and state.lowest < RESTING_HEIGHT and not state.touched
    return on_plate and task.section in (None, state.section) and task.object in (None, name)


def _is_covering(cloth: ObjectState, objects: dict[str, ObjectState]) -> bool:
    return not cloth.touched and any(state.covered for state in objects.values())

from __future__ import annotations

import numpy as np

from mtopt_core.tasks import Skill, Task, TaskSet, load_tasks
from mtopt_success_detector.implied import with_implied

TASKS = load_tasks()


def implied(tasks: TaskSet = TASKS, **said: bool) -> dict[str, bool]:
    row = np.full((1, len(tasks)), np.nan)
    for task, solved in said.items():
        row[0, tasks.index(task.replace('_', '-'))] = solved
    found = with_implied(row, tasks)[0]
    return {task: bool(value) for task, value in zip(tasks.names, found, strict=True) if not np.isnan(value)}


def test_what_is_lifted_is_something_and_nothing_else():
    found = implied(lift_milk=True)
    assert found.pop('lift-milk')
    assert found.pop('lift-any')
    assert found == {task: False for task in TASKS.of_skill('lift') if task not in ('lift-milk', 'lift-any')}


def test_where_nothing_is_lifted_nothing_in_particular_is():
    assert implied(lift_any=False) == dict.fromkeys(TASKS.of_skill('lift'), False)


def test_no_conclusion_is_drawn_from_a_failure_that_leaves_all_open():
    assert implied(lift_milk=False) == {'lift-milk': False}
    assert implied(lift_any=True) == {'lift-any': True}


def test_what_was_said_stays():
    assert implied(lift_milk=True, lift_any=False, place_any=False)['lift-any'] is False


def test_object_and_section_do_not_exclude_each_other():
    tasks = TaskSet(
        skills={'place': Skill(start_region='left_bin')},
        tasks=(
            Task(name='place-any', skill='place'),
            Task(name='place-bottom', skill='place', section='bottom'),
            Task(name='place-milk', skill='place', object='milk'),
        ),
    )
    assert implied(tasks, place_milk=True) == {'place-any': True, 'place-milk': True}

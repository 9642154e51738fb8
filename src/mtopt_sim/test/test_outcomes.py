from __future__ import annotations

import pytest

from mtopt_core.tasks import Task, TaskSet, load_tasks
from mtopt_sim.outcomes import ObjectState, outcomes

TASKS = load_tasks()
WITH_CLOTH = load_tasks('tasks_with_cloth.yaml')
LYING = ObjectState(lowest=0.0, held=False, touched=False, section=None)
HELD = ObjectState(lowest=0.2, held=True, touched=True, section=None)


def solved(placed: str | None = None, **objects: ObjectState) -> set[str]:
    return {task for task, success in outcomes(TASKS, objects, placed).items() if success}


def test_a_held_can_solves_lift_any_and_lift_can_only():
    assert solved(can=HELD, milk=LYING) == {'lift-any', 'lift-can'}


def test_an_object_without_a_task_of_its_own_solves_lift_any():
    assert solved(cup=HELD) == {'lift-any'}


def test_a_place_of_an_object_is_solved_by_that_object_alone():
    on_plate = ObjectState(lowest=0.002, held=False, touched=False, section='bottom')
    task = Task(name='place-milk', skill='place', object='milk')
    milk = TaskSet(skills=TASKS.skills, tasks=(task,))
    assert outcomes(milk, {'milk': on_plate, 'can': LYING}, 'milk') == {'place-milk': True}
    assert outcomes(milk, {'milk': on_plate, 'can': on_plate}, 'can') == {'place-milk': False}


@pytest.mark.parametrize(
    'state',
    [
        ObjectState(lowest=0.09, held=True, touched=True, section=None),
        ObjectState(lowest=0.2, held=False, touched=True, section=None),
    ],
    ids=['too low', 'only touched'],
)
def test_what_is_not_held_high_is_not_lifted(state):
    assert solved(can=state) == set()


@pytest.mark.parametrize('section', ['bottom', 'top-left', 'top-right'])
def test_the_object_the_episode_began_with_solves_its_section(section):
    on_plate = ObjectState(lowest=0.002, held=False, touched=False, section=section)
    assert solved('milk', milk=on_plate, can=LYING) == {'place-any', f'place-{section}'}
    assert solved('can', milk=on_plate, can=LYING) == set()
    assert solved(None, milk=on_plate) == set()


@pytest.mark.parametrize(
    'state',
    [
        ObjectState(lowest=0.0, held=False, touched=False, section=None),
        ObjectState(lowest=0.002, held=False, touched=True, section='bottom'),
        ObjectState(lowest=0.08, held=False, touched=False, section='bottom'),
    ],
    ids=['beside', 'still touched', 'in the air'],
)
def test_what_does_not_rest_on_the_plate_is_not_placed(state):
    assert solved('milk', milk=state) == set()


LET_GO = ObjectState(lowest=0.0, held=False, touched=False, section=None)
COVERED = ObjectState(lowest=0.0, held=False, touched=False, section=None, covered=True)


@pytest.mark.parametrize(
    ('placed', 'cloth', 'can', 'expected'),
    [
        ('cloth', LET_GO, COVERED, True),
        ('cloth', LET_GO, LYING, False),
        ('cloth', HELD, COVERED, False),
        ('can', LET_GO, COVERED, False),
        (None, LET_GO, COVERED, False),
    ],
    ids=['over it', 'beside it', 'in the hand', 'another was held', 'nothing was held'],
)
def test_an_object_is_covered_by_the_cloth_the_episode_began_with_once_it_is_let_go(placed, cloth, can, expected):
    found = outcomes(WITH_CLOTH, {'cloth': cloth, 'can': can}, placed)
    assert found['cover-object'] == expected


def test_a_held_cloth_solves_lift_cloth_and_lift_any():
    found = outcomes(WITH_CLOTH, {'cloth': HELD, 'can': LYING}, None)
    assert {task for task, solved in found.items() if solved} == {'lift-cloth', 'lift-any'}

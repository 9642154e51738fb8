from __future__ import annotations

from collections import Counter

import pytest

from mtopt_collector.scheduler import Assignment, Scheduler
from mtopt_core.errors import ConfigurationError, UnknownTaskError
from mtopt_core.tasks import Skill, Task, TaskSet, load_tasks

TASKS = load_tasks()


def run(scheduler: Scheduler, successes: set[str], episodes: int) -> list[Assignment]:
    assignments = []
    for number in range(episodes):
        assignment = scheduler.next()
        scheduler.finished(assignment, f'episode {number}', successes)
        assignments.append(assignment)
    return assignments


def test_lifts_are_drawn_evenly_and_nothing_is_placed_while_nothing_is_lifted():
    drawn = Counter(one.task for one in run(Scheduler(TASKS, seed=0), set(), 800))
    assert set(drawn) == set(TASKS.of_skill('lift'))
    assert all(70 <= count <= 130 for count in drawn.values())


def test_a_place_follows_a_lift_in_the_same_scene_with_the_object_in_hand():
    scheduler = Scheduler(TASKS, seed=0)
    lift, place, again = run(scheduler, {'lift-any'}, 3)
    assert (lift.skill, place.skill, again.skill) == ('lift', 'place', 'lift')
    assert place.holding
    assert not place.new_scene
    assert place.previous_episode_id == 'episode 0'
    assert not again.new_scene
    assert not again.holding


def test_a_lift_of_the_wrong_object_is_placed_too():
    scheduler = Scheduler(TASKS, seed=0)
    lift = Assignment('lift-milk', 'lift', 1, new_scene=True)
    scheduler.finished(lift, 'e', {'lift-any', 'lift-can'})
    assert scheduler.next().skill == 'place'


def test_without_the_chain_lifts_follow_lifts():
    assert {one.skill for one in run(Scheduler(TASKS, seed=0, chain=False), {'lift-any'}, 30)} == {'lift'}


def test_a_scene_is_spent_after_its_episodes():
    scheduler = Scheduler(TASKS, seed=0, episodes_per_scene=4, tries_without_lift=99)
    assert [one.new_scene for one in run(scheduler, set(), 9)] == [True, False, False, False] * 2 + [True]


def test_a_scene_is_spent_when_nothing_is_lifted_any_more():
    scheduler = Scheduler(TASKS, seed=0, episodes_per_scene=99, tries_without_lift=3)
    run(scheduler, {'lift-any'}, 2)
    assert [one.new_scene for one in run(scheduler, set(), 4)] == [False, False, False, True]


def test_lifts_that_nobody_graded_are_no_failed_tries():
    scheduler = Scheduler(TASKS, seed=0, episodes_per_scene=99, tries_without_lift=3)
    for _ in range(5):
        scheduler.finished(scheduler.next(), 'e', set(), graded=False)
    assert not scheduler.next().new_scene


def test_a_held_object_is_placed_even_when_the_scene_is_spent():
    scheduler = Scheduler(TASKS, seed=0, episodes_per_scene=1)
    lift, place, lift_again = run(scheduler, {'lift-any'}, 3)
    assert (lift.new_scene, place.new_scene, lift_again.new_scene) == (True, False, True)


def test_after_a_failure_the_scene_is_made_anew_and_nothing_is_believed_held():
    scheduler = Scheduler(TASKS, seed=0)
    run(scheduler, {'lift-any'}, 1)
    scheduler.failed()
    assignment = scheduler.next()
    assert assignment.new_scene
    assert assignment.skill == 'lift'


def test_the_same_seed_and_results_give_the_same_episodes():
    runs = [run(Scheduler(TASKS, seed=5), {'lift-any'}, 20) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != run(Scheduler(TASKS, seed=6), {'lift-any'}, 20)


def test_a_requested_place_starts_with_an_object_in_hand():
    assert Scheduler(TASKS, seed=0).requested('place-any', 7) == Assignment('place-any', 'place', 7, True, holding=True)


def test_an_unknown_task_is_named():
    with pytest.raises(UnknownTaskError, match='lift-anvil'):
        Scheduler(TASKS, seed=0).requested('lift-anvil')


def test_a_task_set_that_cannot_be_chained_is_refused():
    skills = {'lift': Skill(start_region='right_bin'), 'place': Skill(start_region='left_bin')}
    tasks = (Task(name='lift-milk', skill='lift', object='milk'), Task(name='place-any', skill='place'))
    with pytest.raises(ConfigurationError, match='lift-any'):
        Scheduler(TaskSet(skills=skills, tasks=tasks), seed=0)


def test_a_scene_made_by_hand_survives_a_fault_but_not_its_last_object():
    scheduler = Scheduler(TASKS, seed=0, tries_without_lift=2, by_hand=True)
    assert not scheduler.next().new_scene
    scheduler.failed()
    run(scheduler, set(), 2)
    scheduler.failed()
    assert scheduler.next().new_scene
    scheduler.renewed()
    assert not scheduler.next().new_scene


def test_a_scene_told_to_be_spent_is_made_anew_even_after_the_episode_that_runs():
    scheduler = Scheduler(TASKS, seed=0)
    first = scheduler.next()
    scheduler.spend()
    scheduler.finished(first, 'e', {'lift-any'})
    second = scheduler.next()
    assert (second.skill, second.new_scene) == ('lift', True)
    scheduler.finished(second, 'f', {'lift-any'})
    assert scheduler.next().holding


def test_a_scene_told_to_be_spent_is_asked_for_until_it_is_made():
    scheduler = Scheduler(TASKS, seed=0, by_hand=True)
    scheduler.spend()
    for _ in range(2):
        assert scheduler.next().new_scene
        scheduler.failed()
    scheduler.renewed()
    assert not scheduler.next().new_scene


def test_a_person_who_makes_the_scene_anew_does_what_was_told():
    scheduler = Scheduler(TASKS, seed=0, by_hand=True)
    scheduler.spend()
    scheduler.renewed()
    assert not scheduler.next().new_scene

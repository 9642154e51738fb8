"""Policies are compared on the same seeds, and called better only where the intervals separate."""

import json

import pytest

from mtopt_bringup.episode_workers import Job, Result
from mtopt_bringup.evaluate import Policy, evaluate, evaluation_job, evaluation_of, table_of
from mtopt_bringup.evaluation import Evaluation, EvaluationError, TaskResult, pooled, rows_of, separates, verdict
from mtopt_bringup.task_mixture import TaskMixture
from mtopt_core.episode import Outcome, Termination, Verdict
from mtopt_core.errors import UnknownTaskError
from mtopt_core.tasks import load_tasks


def result(policy, successes, trials, task='lift-any'):
    won = tuple(number < successes for number in range(trials))
    return TaskResult(policy, '', task, won, steps=(5,) * trials)


def run(tmp_path, name, **options):
    path = tmp_path / f'{name}.json'
    evaluate(policy=[Policy.SCRIPTED], tasks='lift-any,place-any', episodes=4, image_size=32, json=path, **options)
    return Evaluation.load(path)


def test_the_same_seed_gives_the_same_result_whatever_the_number_of_workers(tmp_path):
    one, two = run(tmp_path, 'one', workers=1), run(tmp_path, 'two', workers=2)
    assert one.results == two.results
    assert {(row.task, len(row.successes)) for row in one.results} == {('lift-any', 4), ('place-any', 4)}
    other = run(tmp_path, 'other', workers=1, seed=1)
    assert [row.steps for row in other.results] != [row.steps for row in one.results]


def test_every_policy_gets_the_same_seeds_and_the_object_it_is_asked_for():
    jobs = [evaluation_job(policy, 'lift-can', (3, 7, 6)) for policy in ('scripted', 'learned')]
    assert jobs[0].seed == jobs[1].seed
    assert all(job.object_present for job in jobs)
    others = [(4, 7, 6), (3, 8, 6), (3, 7, 5)]
    assert jobs[0].seed not in [evaluation_job('scripted', 'lift-can', other).seed for other in others]


def test_seeds_that_only_some_policies_have_tried_are_left_out():
    def tried(policy, number, solved):
        job = Job(number, f'{policy}{number}', 'lift-any', number, policy)
        outcomes = (Outcome('lift-any', Verdict(int(solved)), float(solved)),)
        return Result(job, policy, '', outcomes, 5, Termination.SCRIPTED_ENDING)

    results = [tried('learned', 1, True), tried('scripted', 0, False), tried('learned', 0, True)]
    evaluation = evaluation_of(results, seed=0, policies=['scripted', 'learned'], tasks=['lift-any'])
    assert [(row.policy, row.successes) for row in evaluation.results] == [('scripted', (False,)), ('learned', (True,))]


def test_better_is_claimed_only_where_the_intervals_do_not_overlap():
    few, many = result('scripted', 10, 100), result('learned', 30, 100)
    assert separates(many, few)
    assert verdict(few, many) == verdict(many, few) == 'learned is better'
    assert verdict(few, result('learned', 16, 100)) == 'not told apart'
    assert verdict(result('scripted', 2, 5), result('learned', 4, 5)) == 'not told apart'


def test_rows_are_every_task_then_those_of_a_skill_and_all_together_where_that_is_more_than_one():
    tasks, lifts, places = load_tasks(), ('lift-any', 'lift-can'), ('place-any', 'place-bottom')

    def names(*evaluated):
        rows = tuple(result('scripted', 1, 4, task) for task in evaluated)
        return [row[0].task for row in rows_of(Evaluation('', 0, rows), tasks)]

    assert names(*lifts, *places) == [*lifts, *places, 'all lift tasks', 'all place tasks', 'all tasks']
    assert names(*lifts) == [*lifts, 'all tasks']
    assert names('lift-any', 'place-any') == ['lift-any', 'place-any', 'all tasks']
    assert names('lift-any') == ['lift-any']


def test_pooling_keeps_every_episode():
    together = pooled([result('learned', 1, 4), result('learned', 3, 6, 'place-any')], 'all')
    assert (sum(together.successes), len(together.successes)) == (4, 10)


def test_the_table_shows_rates_with_intervals_and_who_is_better():
    rows = (result('scripted', 10, 100), result('learned', 30, 100))
    table = table_of(Evaluation('2026-11-23T10:00:00+00:00', 0, rows), load_tasks())
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[:4] == ['lift-any', '10 % [6, 17]', '30 % [22, 40]', 'learned is better']


def test_what_is_no_evaluation_is_refused_by_name(tmp_path):
    path = tmp_path / 'wrong.json'
    path.write_text(json.dumps({'results': [{'policy': 'scripted'}]}))
    with pytest.raises(EvaluationError, match=r'wrong\.json'):
        Evaluation.load(path)


def test_a_mixture_names_tasks_all_alike_or_mostly_the_broad_ones():
    tasks = load_tasks()
    uniform, imbalanced = (TaskMixture.parse(name, tasks) for name in ('uniform', 'imbalanced'))
    assert uniform.tasks == imbalanced.tasks == tasks.names
    assert len(set(uniform.shares)) == 1
    broad = [share for task, share in zip(imbalanced.tasks, imbalanced.shares, strict=True) if task.endswith('any')]
    assert sum(broad) > 0.5
    assert TaskMixture.parse('lift-can, place-any', tasks).tasks == ('lift-can', 'place-any')
    with pytest.raises(UnknownTaskError):
        TaskMixture.parse('lift-anvil', tasks)

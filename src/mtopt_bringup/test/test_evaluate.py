"""Policies are compared on the same seeds, and called better only where the intervals separate."""

import errno
import json

import pytest

from mtopt_bringup.episode_workers import Job, Result, Workplace
from mtopt_bringup.evaluate import (
    Policy,
    evaluate,
    evaluation_job,
    evaluation_of,
    named_checkpoints,
    run_evaluation,
)
from mtopt_bringup.evaluation import (
    Evaluation,
    EvaluationError,
    TaskResult,
    leaders,
    pooled,
    rows_of,
    separates,
    verdict,
)
from mtopt_bringup.evaluation_table import table_of
from mtopt_bringup.task_mixture import TaskMixture
from mtopt_core.configuration import load_cell
from mtopt_core.episode import Outcome, Termination, Verdict
from mtopt_core.episode_bag import episode_ids
from mtopt_core.errors import CheckpointError, ConfigurationError, UnknownTaskError
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.task_file import renamed
from mtopt_core.tasks import TaskSet, load_tasks


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


def test_several_checkpoints_are_compared_on_the_same_scenes_each_by_its_name(checkpoints, tmp_path):
    path, bags = tmp_path / 'evaluation.json', tmp_path / 'data'
    named = [f'{name}={checkpoint}' for name, checkpoint in checkpoints.items()]
    options = {'tasks': 'lift-any', 'episodes': 2, 'workers': 1, 'json': path, 'bags': bags}
    evaluate(checkpoint=named, policy=[Policy.LEARNED, Policy.SCRIPTED], **options)
    evaluation = Evaluation.load(path)
    found = [(row.policy, row.model_version, len(row.successes)) for row in evaluation.results]
    assert found == [('one', 'v0', 2), ('two', 'v1', 2), ('scripted', '', 2)]
    store = LabelStore(DataFolder(bags))
    assert store.all_outcomes([SIMULATOR]).keys() == set(episode_ids(bags / 'bags'))
    store.close()


def test_a_policy_fares_alone_as_it_does_beside_others(checkpoints):
    def fare(names):
        workplace = Workplace(load_cell(), load_tasks(), checkpoints={name: checkpoints[name] for name in names})
        evaluation = run_evaluation(workplace, names, ('place-any',), episodes=2, seed=0, workers=1)
        return {row.policy: (row.successes, row.steps) for row in evaluation.results}

    together = fare(['one', 'two'])
    assert together == fare(['one']) | fare(['two'])
    assert together['one'] != together['two']


def test_a_checkpoint_is_called_by_its_name_else_by_its_version_and_a_single_one_learned(checkpoints):
    one, two, tasks = checkpoints['one'], checkpoints['two'], load_tasks()
    assert named_checkpoints([str(one)], tasks) == {'learned': one}
    assert named_checkpoints([str(one), f'my-net.2={two.parent}'], tasks) == {'v0': one, 'my-net.2': two}


@pytest.mark.parametrize(
    ('first', 'second', 'complaint'),
    [('', '', "cannot be called 'v0'"), ('a=', 'a=', "'a'"), ('scripted=', 'a=', "'scripted'"), ('a/b=', '', "'a/b'")],
)
def test_a_name_that_would_be_mistaken_is_refused(checkpoints, first, second, complaint):
    path = checkpoints['one']
    with pytest.raises(ConfigurationError, match=complaint):
        named_checkpoints([f'{first}{path}', f'{second}{path}'], load_tasks())


def test_a_checkpoint_that_cannot_be_evaluated_is_refused_before_anything_runs(checkpoints, tmp_path):
    tasks = TaskSet(skills=load_tasks().skills, tasks=load_tasks().tasks[:3])
    with pytest.raises(CheckpointError, match='trained for tasks'):
        named_checkpoints([str(checkpoints['one'])], tasks)
    with pytest.raises(CheckpointError, match='no checkpoint'):
        named_checkpoints([str(tmp_path)], load_tasks())
    with pytest.raises(ConfigurationError, match='--checkpoint'):
        evaluate(tasks='lift-any')


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


def test_an_episode_that_was_not_carried_out_counts_as_a_failure_and_is_said(tmp_path):
    def tried(number, problem=''):
        outcomes = () if problem else (Outcome('lift-any', Verdict.SUCCESS, 1.0),)
        job = Job(number, f'e{number}', 'lift-any', number, 'learned')
        return Result(job, 'learned', '', outcomes, 5, Termination.STEP_LIMIT, problem)

    evaluation = evaluation_of([tried(0), tried(1, 'it diverged'), tried(2)], 0, ['learned'], ['lift-any'])
    assert evaluation.find('learned', 'lift-any').successes == (True, False, True)
    evaluation.save(tmp_path / 'evaluation.json')
    read = Evaluation.load(tmp_path / 'evaluation.json')
    assert read == evaluation
    said = '1 episode not carried out, as the physics diverged at every try, counted as failure: learned lift-any 1'
    assert table_of(read, load_tasks()).caption == said
    assert table_of(Evaluation('', 0, (result('scripted', 1, 2),)), load_tasks()).caption is None


def test_better_is_claimed_only_where_the_intervals_do_not_overlap():
    few, many = result('scripted', 10, 100), result('learned', 30, 100)
    assert separates(many, few)
    assert verdict(few, many) == verdict(many, few) == 'learned is better'
    assert verdict(few, result('learned', 16, 100)) == 'not told apart'
    assert verdict(result('scripted', 2, 5), result('learned', 4, 5)) == 'not told apart'


def test_of_several_policies_the_best_and_those_not_told_apart_from_it_lead():
    low, middle, high = result('a', 10, 100), result('b', 30, 100), result('c', 35, 100)
    assert leaders([low, middle, high]) == [middle, high]
    assert leaders([middle, high]) == []
    table = table_of(Evaluation('', 0, (low, middle, high)), load_tasks())
    assert ['bold' in next(iter(column.cells)) for column in table.columns] == [False, False, True, True]


def test_rows_are_every_task_then_those_of_a_skill_and_all_together_where_that_is_more_than_one():
    tasks, lifts, places = load_tasks(), ('lift-any', 'lift-can'), ('place-any', 'place-bottom')

    def names(*evaluated):
        rows = tuple(result('scripted', 1, 4, task) for task in evaluated)
        return [row[0].task for row in rows_of(Evaluation('', 0, rows), tasks)]

    assert names(*lifts, *places) == [*lifts, *places, 'all lift tasks', 'all place tasks', 'all tasks']
    assert names(*lifts) == [*lifts, 'all tasks']
    assert names('lift-any', 'place-any') == ['lift-any', 'place-any', 'all tasks']
    assert names('lift-any') == ['lift-any']


def test_a_task_that_was_renamed_is_found_by_its_new_name_and_one_that_is_gone_left_out():
    rows = tuple(result('scripted', 1, 4, task) for task in ('lift-any', 'lift-can', 'lift-anvil'))
    evaluation = Evaluation('', 0, rows).of(renamed(load_tasks(), 'lift-can', 'lift-tin'))
    assert evaluation.tasks == ('lift-any', 'lift-tin')
    assert evaluation.find('scripted', 'lift-tin').successes == rows[1].successes


def test_pooling_keeps_every_episode():
    together = pooled([result('learned', 1, 4), result('learned', 3, 6, 'place-any')], 'all')
    assert (sum(together.successes), len(together.successes)) == (4, 10)


def test_the_table_shows_rates_with_intervals_and_who_is_better():
    rows = (result('scripted', 10, 100), result('learned', 30, 100))
    table = table_of(Evaluation('2026-11-23T10:00:00+00:00', 0, rows), load_tasks())
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[:4] == ['lift-any', '10 % [6, 17]', '30 % [22, 40]', 'learned is better']


def test_an_evaluation_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / 'evaluation.json'
    before = Evaluation('', 0, (result('scripted', 1, 2),))
    before.save(path)

    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(EvaluationError, match=r'evaluation\.json cannot be written: No space left'):
        Evaluation('', 1, ()).save(path)
    assert Evaluation.load(path) == before
    assert list(tmp_path.iterdir()) == [path]


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

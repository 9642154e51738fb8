"""A study runs what has no result yet, keeps one small file per run, and shows it beside the paper's figures."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from mtopt_bringup.bootstrap import USUAL, stages_of
from mtopt_bringup.evaluation import Evaluation, TaskResult
from mtopt_bringup.studies import MT_OPT, RUNS, STUDIES, low_data
from mtopt_bringup.study import FEW, Laboratory, study
from mtopt_bringup.study_results import ResultError, RunResult, load_result, path_of, rows_of_study
from mtopt_bringup.study_tables import cells, columns, markdown_table, markdown_tasks, write_figure
from mtopt_core.checkpoint import load_manifest, newest_checkpoint
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import ConfigurationError
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.paths import DataFolder, shipped
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.configuration import load_trainer
from mtopt_policy.manifest import PolicyManifest

TASKS = load_tasks()
SHARING = STUDIES['sharing']


def result(run, seed, rates, episodes=10):
    successes = {
        task: tuple(number < round(rate * episodes) for number in range(episodes)) for task, rate in rates.items()
    }
    results = tuple(TaskResult('learned', 'v1', task, found, (3,) * episodes) for task, found in successes.items())
    evaluation = Evaluation('2026-11-25T00:00:00+00:00', 1000, results)
    return RunResult(
        run=run, seed=seed, data='mtopt bootstrap', options=RUNS[run].arguments, steps=5, evaluation=evaluation
    )


def rates(broad, rare):
    return {task.name: broad if task.broad else rare for task in TASKS.tasks}


def test_every_study_compares_known_runs_on_known_tasks():
    for name, one in STUDIES.items():
        assert set(one.runs) <= set(RUNS), name
        assert set(one.tasks) <= set(load_tasks(one.tasks_file).names), name
        assert all(RUNS[run].tasks_file == one.tasks_file for run in one.runs), name


@pytest.mark.parametrize('run', RUNS)
def test_every_run_is_a_valid_change_of_the_preset(run):
    options = RUNS[run].options
    changes = [value for name, value in pairwise(options) if name == '--set']
    assert bool(load_trainer('small', changes) != load_trainer('small')) == bool(changes)


def test_a_result_comes_back_as_it_was_saved(tmp_path):
    saved = result(MT_OPT, 2, rates(0.9, 0.5))
    saved.save(tmp_path)
    assert load_result(tmp_path, MT_OPT, 2) == saved
    assert load_result(tmp_path, MT_OPT, 1) is None


def test_a_damaged_result_is_named(tmp_path):
    path = path_of(tmp_path, MT_OPT, 0)
    path.parent.mkdir()
    path.write_text('{"run": 1}')
    with pytest.raises(ResultError, match=r'seed-0\.json'):
        load_result(tmp_path, MT_OPT, 0)


def test_low_data_tasks_are_all_but_the_broad_ones_and_pool_all_seeds(tmp_path):
    assert set(TASKS.names) - set(low_data(TASKS)) == {'lift-any', 'place-any'}
    for seed, rare in enumerate((0.2, 0.6)):
        result(MT_OPT, seed, rates(0.9, rare)).save(tmp_path)
    (row,) = rows_of_study(tmp_path, SHARING, TASKS)
    assert row.seeds == (0, 1)
    assert row.groups['low-data'].rate == pytest.approx(0.4)
    assert len(row.groups['low-data'].successes) == 2 * 10 * 10
    assert row.by_seed['low-data'] == pytest.approx((0.2, 0.6))
    assert row.by_seed['all'] == pytest.approx((0.95 / 3, 0.65))


def test_the_table_has_minimum_mean_maximum_or_the_tasks_asked_for(tmp_path):
    result(MT_OPT, 0, rates(0.9, 0.5)).save(tmp_path)
    (row,) = rows_of_study(tmp_path, SHARING, TASKS)
    found = dict(zip(columns(SHARING), cells(SHARING, row), strict=True))
    assert (found['minimum'], found['maximum']) == ('0.50', '0.90')
    assert found['low-data mean'].startswith('0.50 [0.40')
    (row,) = rows_of_study(tmp_path, STUDIES['failures'], TASKS)
    assert cells(STUDIES['failures'], row)[0].startswith('0.50 [')


def test_a_run_that_did_not_learn_a_task_leaves_its_cell_empty(tmp_path):
    result('rare-alone', 0, {'lift-sausage': 0.1}).save(tmp_path)
    (row,) = rows_of_study(tmp_path, STUDIES['tasks'], TASKS)
    assert cells(STUDIES['tasks'], row)[:2] == ['', '']


def test_tables_and_figure_for_the_documentation(tmp_path):
    for run in ('none-uniform', MT_OPT):
        result(run, 0, rates(0.8, 0.3)).save(tmp_path)
    rows = rows_of_study(tmp_path, SHARING, TASKS)
    assert markdown_table(SHARING, rows).count('\n') == 3
    assert '0.18 (verified)' in markdown_table(SHARING, rows)
    assert markdown_tasks(rows).count('\n') == 1 + len(TASKS)
    write_figure(SHARING, rows, tmp_path / 'figure.svg')
    assert '<svg' in (tmp_path / 'figure.svg').read_text()


@pytest.mark.timeout(900)
def test_a_study_makes_its_data_trains_evaluates_and_does_not_run_again_what_it_has(tmp_path, capfd):
    arguments = {'out': tmp_path / 'out', 'results': tmp_path / 'results', 'seeds': '1', 'runs': 'two-tasks'}
    study('tasks', quick=True, workers=2, threads=1, **arguments)
    saved = load_result(tmp_path / 'results', 'two-tasks', 1)
    assert [one.task for one in saved.evaluation.results] == ['lift-any', 'place-any']
    assert saved.data.endswith('--seed 1')
    capfd.readouterr()
    study('tasks', quick=True, **arguments)
    assert 'train' not in capfd.readouterr().out


def test_new_tasks_are_learned_from_the_same_few_episodes_with_and_without_a_policy_to_start_from(tmp_path):
    laboratory = Laboratory(tmp_path, tmp_path, USUAL, FEW, 100, 5, workers=1, threads=1)
    fine_tuned, alone = (laboratory.stages(run, 3)[0].arguments() for run in ('new-fine-tuned', 'new-alone'))
    start = str(laboratory.folder(MT_OPT, 3) / 'policy')
    place = fine_tuned.index('--from')
    assert fine_tuned[place : place + 2] == ['--from', start]
    without = fine_tuned[:place] + fine_tuned[place + 2 :]
    assert [part.replace('new-fine-tuned', 'new-alone') for part in without] == alone
    new, base = (laboratory.data(3, RUNS[run]) for run in ('new-alone', MT_OPT))
    assert new.out != base.out
    assert '--tasks lift-cloth,cover-object' in new.command
    assert 'cloth' not in base.command
    collected = [stage.arguments() for stage in stages_of(new)]
    assert all(part in arguments for arguments in collected for part in ('tasks_with_cloth.yaml', new.tasks))


def test_a_policy_that_is_given_is_fine_tuned_in_place_of_a_runs():
    laboratory = Laboratory(Path('out'), Path('results'), USUAL, FEW, 100, 5, 1, 1, start=Path('given'))
    fine_tuned, alone = (laboratory.stages(run, 0)[0].arguments() for run in ('new-fine-tuned', 'new-alone'))
    assert fine_tuned[fine_tuned.index('--from') + 1] == 'given'
    assert '--from' not in alone


@pytest.mark.timeout(1800)
def test_the_study_of_new_tasks_trains_the_policy_it_starts_from_first(tmp_path, capfd):
    arguments = {'out': tmp_path / 'out', 'results': tmp_path / 'results'}
    study('new-task', quick=True, workers=2, threads=1, **arguments)
    printed = capfd.readouterr().out
    assert printed.index(f'{MT_OPT}, seed 0: train') < printed.index('new-fine-tuned, seed 0: train')
    assert 'lift-cloth' in printed[printed.rindex('INDICATIVE') :]
    fine_tuned, alone = (load_result(tmp_path / 'results', run, 0) for run in ('new-fine-tuned', 'new-alone'))
    assert (fine_tuned.started_from, alone.started_from) == (MT_OPT, '')
    assert fine_tuned.data == alone.data
    assert [one.task for one in fine_tuned.evaluation.results] == ['lift-cloth', 'cover-object']
    policies = {
        run: newest_checkpoint(tmp_path / f'out/runs/{run}/seed-0/policy') for run in (MT_OPT, 'new-fine-tuned')
    }
    manifest = load_manifest(policies['new-fine-tuned'], PolicyManifest)
    assert len(manifest.tasks) == 14
    assert manifest.training.started_from == policies[MT_OPT].name
    assert load_result(tmp_path / 'results', MT_OPT, 0) is None, 'only its training was needed'


@pytest.mark.timeout(900)
def test_a_run_learns_from_the_outcomes_of_a_detector_that_grades_its_dataset_first(tmp_path, capfd):
    arguments = {'out': tmp_path / 'out', 'results': tmp_path / 'results', 'runs': 'detector-outcomes'}
    study('outcomes', quick=True, workers=2, threads=1, **arguments)
    printed = capfd.readouterr().out
    assert printed.index('mtopt relabel') < printed.index('--outcomes detector')
    assert '--outcomes simulator' not in printed[printed.index('mtopt relabel') :]
    saved = load_result(tmp_path / 'results', 'detector-outcomes', 0)
    assert saved.detector == newest_checkpoint(shipped('models', 'success_detector')).name


def test_quick_runs_leave_the_usual_results_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result('rare-alone', 0, {'lift-sausage': 0.5}).save(tmp_path / 'results')
    study('failures', show=True)
    with pytest.raises(ConfigurationError, match='out/studies-quick/results'):
        study('failures', show=True, quick=True)


def test_a_detector_whose_outcomes_would_not_count_is_refused(tmp_path):
    laboratory = Laboratory(tmp_path, tmp_path, USUAL, FEW, 100, 5, workers=1, threads=1)
    data = DataFolder(laboratory.data(0, RUNS['detector-outcomes']).out)
    data.root.mkdir(parents=True)
    with closing(LabelStore(data)) as store:
        store.add('episode', DETECTOR, '99991231T000000_000001', [Outcome('lift-can', Verdict.SUCCESS, 0.9)])
    with pytest.raises(ConfigurationError, match='detector 99991231T000000_000001 has graded'):
        laboratory.carry_out('detector-outcomes', 0, Console())


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigurationError, match='sharing'):
        study('sharin', results=tmp_path)
    with pytest.raises(ConfigurationError, match='rare-alone'):
        study('failures', results=tmp_path, runs='rare')

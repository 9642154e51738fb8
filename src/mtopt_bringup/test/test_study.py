"""A study runs what has no result yet, keeps one small file per run, and shows it beside the paper's figures."""

from itertools import pairwise

import pytest

from mtopt_bringup.evaluation import Evaluation, TaskResult
from mtopt_bringup.studies import MT_OPT, RUNS, STUDIES, low_data
from mtopt_bringup.study import study
from mtopt_bringup.study_results import ResultError, RunResult, load_result, path_of, rows_of_study
from mtopt_bringup.study_tables import cells, columns, markdown_table, markdown_tasks, write_figure
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.configuration import load_trainer

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
        assert set(one.tasks) <= set(TASKS.names), name


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


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigurationError, match='sharing'):
        study('sharin', results=tmp_path)
    with pytest.raises(ConfigurationError, match='rare-alone'):
        study('failures', results=tmp_path, runs='rare')

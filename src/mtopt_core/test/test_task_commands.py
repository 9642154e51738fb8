from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtopt_core.checkpoint import Manifest
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import CheckpointError, ConfigurationError, UnknownTaskError
from mtopt_core.label_rebuild import rebuild
from mtopt_core.label_store import DETECTOR, HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.task_commands import app
from mtopt_core.tasks import TaskSet, load_tasks

SHIPPED = load_tasks()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / 'tasks.yaml'


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def manifest(tasks: TaskSet) -> Manifest:
    return Manifest(kind='policy', version='v1', tasks=tasks.names, skills=tuple(task.skill for task in tasks.tasks))


def test_a_task_is_added_behind_those_there_are(file):
    assert 'lift-cup is number 13' in run('add', 'lift-cup', '--skill', 'lift', '--object', 'cup', '--tasks-file', file)
    run('add', 'place-milk', '--skill', 'place', '--object', 'milk', '--tasks-file', file)
    tasks = load_tasks(file)
    assert tasks.names == (*SHIPPED.names, 'lift-cup', 'place-milk')
    assert tasks['place-milk'].object == 'milk'
    assert tasks.skills == SHIPPED.skills
    manifest(SHIPPED).require_extended(tasks)
    assert load_tasks() == SHIPPED, 'the shipped file is nobody to change'


def test_what_was_changed_is_what_is_read_by_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cup = ('--skill', 'lift', '--object', 'cup')
    run('add', 'lift-cup', *cup, '--tasks-file', 'mine.yaml')
    assert 'lift-cup' in run('list', '--tasks-file', 'mine.yaml')
    run('add', 'lift-cup', *cup, '--tasks-file', './tasks.yaml')
    assert 'lift-cup' in run('list', '--tasks-file', './tasks.yaml')
    assert 'lift-cup' not in run('list')
    for command in (('list',), ('remove', 'lift-can')):
        with pytest.raises(ConfigurationError, match=r'write \./tasks\.yaml'):
            run(*command, '--tasks-file', 'tasks.yaml')


def test_comments_at_the_beginning_of_a_file_stay(file):
    file.write_text('# Our cell.\n# Ask Kim before changing it.\n' + 'skills: {lift: {start_region: right_bin}}\n'
                    'tasks: [{name: lift-any, skill: lift}]\n')  # fmt: skip
    run('add', 'lift-cup', '--skill', 'lift', '--object', 'cup', '--tasks-file', file)
    assert file.read_text().startswith('# Our cell.\n# Ask Kim before changing it.\nskills:\n')
    assert load_tasks(file).names == ('lift-any', 'lift-cup')


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (('lift-milk', '--skill', 'lift'), 'occur twice: lift-milk'),
        (('fold-cloth', '--skill', 'fold'), 'unknown skill fold'),
        (('Lift Cup', '--skill', 'lift'), 'no name for a task'),
        (('../lift', '--skill', 'lift'), 'no name for a task'),
    ],
)
def test_a_task_that_would_break_the_set_is_refused(file, arguments, reason):
    with pytest.raises(ConfigurationError, match=reason):
        run('add', *arguments, '--tasks-file', file)
    assert not file.exists()


def test_a_task_that_is_removed_keeps_its_place_and_can_come_back(file):
    run('remove', 'lift-box', '--tasks-file', file)
    tasks = load_tasks(file)
    assert tasks.names == SHIPPED.names
    assert [task.name for task in tasks.attempted] == [name for name in SHIPPED.names if name != 'lift-box']
    manifest(SHIPPED).require_fit(tasks)
    with pytest.raises(ConfigurationError, match='occur twice'):
        run('add', 'lift-box', '--skill', 'lift', '--object', 'can', '--tasks-file', file)
    run('add', 'lift-box', '--skill', 'lift', '--object', 'box', '--tasks-file', file)
    assert load_tasks(file) == SHIPPED
    with pytest.raises(UnknownTaskError, match='fold-cloth'):
        run('remove', 'fold-cloth', '--tasks-file', file)


def test_a_task_that_is_renamed_keeps_its_labels_also_when_they_are_restored(file, tmp_path):
    data = DataFolder(tmp_path / 'data')
    with closing(LabelStore(data)) as store:
        store.add('e1', HUMAN, '', [Outcome('lift-can', Verdict.SUCCESS, 1.0)], 'kim')
        store.add('e2', DETECTOR, 'v1', [Outcome('lift-can', Verdict.FAILURE, 0.1)])
        before = store.last_grading()
    said = run('rename', 'lift-can', 'lift-tin', '--tasks-file', file, '--bags', data.root)
    assert 'outcomes of 2 episodes' in said
    with closing(LabelStore(data)) as store:
        assert store.outcomes('e1').keys() == store.outcomes('e2').keys() == {'lift-tin'}
        assert set(store.graded_since(before).tolist()) == {b'e1', b'e2'}, 'or a training would not look again'
    for stale in data.root.glob('labels.sqlite*'):
        stale.unlink()
    rebuild(data)
    with closing(LabelStore(data)) as store:
        assert store.outcomes('e1').keys() == {'lift-tin'}

    tasks = load_tasks(file)
    assert tasks.current_name('lift-can') == 'lift-tin'
    manifest(SHIPPED).require_fit(tasks)
    with pytest.raises(ConfigurationError, match='lift-can'):
        run('add', 'lift-can', '--skill', 'lift', '--tasks-file', file)
    run('rename', 'lift-tin', 'lift-can', '--tasks-file', file, '--bags', data.root)
    assert load_tasks(file).names == SHIPPED.names
    with closing(LabelStore(data)) as store:
        assert store.outcomes('e1').keys() == {'lift-can'}


def test_a_folder_that_is_not_there_stops_a_renaming_before_it_begins(file, tmp_path):
    data = DataFolder(tmp_path / 'data')
    with closing(LabelStore(data)) as store:
        store.add('e1', HUMAN, '', [Outcome('lift-can', Verdict.SUCCESS, 1.0)], 'kim')
    with pytest.raises(ConfigurationError, match='nowhere'):
        run('rename', 'lift-can', 'lift-tin', '--tasks-file', file, '--bags', data.root, '--bags', tmp_path / 'nowhere')
    with closing(LabelStore(data)) as store:
        assert store.outcomes('e1').keys() == {'lift-can'}
    assert not file.exists()


def test_a_checkpoint_of_other_tasks_is_still_refused(file):
    run('rename', 'lift-can', 'lift-tin', '--tasks-file', file)
    other = SHIPPED.model_dump()
    other['tasks'][6]['name'] = 'lift-tube'
    with pytest.raises(CheckpointError, match='lift-tube'):
        manifest(TaskSet.model_validate(other)).require_fit(load_tasks(file))


def test_the_list_shows_what_became_of_a_task(file):
    run('rename', 'lift-can', 'lift-tin', '--tasks-file', file)
    run('remove', 'lift-box', '--tasks-file', file)
    said = run('list', '--tasks-file', file)
    assert 'lift-tin' in said
    assert 'retired' in said

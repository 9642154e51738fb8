"""The report says what is in the folder, no more, in one file that needs no other."""

import json
import re
import shutil
from contextlib import closing
from dataclasses import replace

import pytest

from mtopt_bringup.changed_verdicts import compare_newest
from mtopt_bringup.data_contents import EmptyFolderError, read_contents
from mtopt_bringup.dataset_summary import examples, mistakes
from mtopt_bringup.evaluation import Evaluation, TaskResult
from mtopt_bringup.impersonation_counts import count_impersonated
from mtopt_bringup.report import report, write_report
from mtopt_bringup.simulate import simulate
from mtopt_bringup.stages import StageRecord
from mtopt_core.cadence import cadence_file, damaged_lines, read_cadence, summarise
from mtopt_core.catalogue import Catalogue
from mtopt_core.data_growth import growth
from mtopt_core.episode import Outcome, Termination, Verdict
from mtopt_core.errors import ConfigurationError
from mtopt_core.label_store import DETECTOR, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.task_commands import rename
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.impersonation import Impersonation

TASKS = load_tasks()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with four episodes, graded by a detector that is wrong about one lift, and an evaluation."""
    folder = DataFolder(tmp_path_factory.mktemp('report') / 'kitchen')
    simulate(folder.root, 4, workers=1, tasks='lift-any', image_size=32)
    store = LabelStore(folder)
    for number, (episode_id, truth) in enumerate(sorted(store.all_outcomes([SIMULATOR]).items())):
        graded = [Outcome(one.task, one.verdict, 0.9 if one.verdict else 0.1) for one in truth.values()]
        if number == 0:
            opposite = Verdict(1 - truth['lift-any'].verdict)
            graded[TASKS.index('lift-any')] = Outcome('lift-any', opposite, 0.97 if opposite else 0.03)
        store.add(episode_id, DETECTOR, 'v1', graded)
    store.close()
    results = tuple(
        TaskResult(policy, '', 'lift-any', tuple(number < won for number in range(50)), (5,) * 50)
        for policy, won in (('scripted', 5), ('learned', 30))
    )
    Evaluation('2026-11-23T10:00:00+00:00', 0, results).save(folder.root / 'evaluations' / 'first.json')
    line = {'episode_id': 'e', 'robot': 'robot1', 'policy': 'learned', 'steps': 10, 'seconds': 0.5}
    line |= {'decision_time': 0.012, 'image_age': 0.004, 'messages': 90, 'dropped': 0}
    cadence_file(folder).write_text((json.dumps(line) + '\n') * 3)
    return folder


def words(page):
    return ' '.join(re.sub(r'<svg.*?</svg>|<[^>]+>', ' ', page, flags=re.DOTALL).split())


def test_the_page_stands_alone_and_says_what_was_found(data, tmp_path):
    write_report(
        data, tmp_path / 'report.html', TASKS, [StageRecord(name='a', title='Dig', command='mtopt dig', seconds=75)]
    )
    page = (tmp_path / 'report.html').read_text()
    # Namespaces of SVG are names, nothing is fetched from there.
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    text = words(page)
    assert 'kitchen' in text
    assert '4 episodes' in text
    assert 'learned is better' in text
    assert '60 % [46, 72]' in text
    assert 'control steps per second 20.0' in text
    assert 'Dig mtopt dig 1:15' in text
    assert 'What impersonation adds' in text
    assert page.count('data:image/jpeg;base64,') >= 2


def test_it_is_written_beside_the_data_where_nothing_else_is_said(data):
    report(data.root)
    assert (data.root / 'report.html').stat().st_size > 10_000


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(EmptyFolderError, match='no episode'):
        write_report(DataFolder(tmp_path), tmp_path / 'report.html', TASKS)


def rows_and_verdicts(data, *sources):
    Catalogue(data).refresh()
    rows = Catalogue(data).episodes()
    with closing(LabelStore(data)) as store:
        return rows, store.counting_verdicts([row.episode_id for row in rows], TASKS.names, sources)


def test_an_episode_counts_for_every_task_of_its_skill_and_none_of_another(data):
    rows, verdicts = rows_and_verdicts(data, DETECTOR)
    grown = {task.task: task for task in growth(rows, verdicts, TASKS)}
    assert grown['lift-any'].attempts == 4
    assert grown['lift-can'].attempts == 0
    assert grown['lift-can'].successes[-1] + grown['lift-can'].failures[-1] == 4
    assert grown['place-any'].successes[-1] + grown['place-any'].failures[-1] == 0
    assert list(grown['lift-can'].successes + grown['lift-can'].failures) == [1, 2, 3, 4]


def test_growth_tells_the_script_s_episodes_from_those_of_learned_policies(data):
    rows, verdicts = rows_and_verdicts(data, DETECTOR)
    acted = ['learned', 'scripted', 'learned:lift-can', 'scripted']
    rows = [replace(row, policy=policy) for row, policy in zip(rows, acted, strict=True)]
    grown = {task.task: task for task in growth(rows, verdicts, TASKS)}['lift-any']
    assert list(grown.learned_successes + grown.learned_failures) == [1, 1, 2, 2]
    assert list(grown.other_successes + grown.other_failures) == [0, 1, 1, 2]


def test_a_task_gains_what_impersonation_gives_it(data):
    rows, truth = rows_and_verdicts(data, SIMULATOR)
    counts = count_impersonated(rows, truth, TASKS)
    lift_any, lift_can, place_any = map(TASKS.index, ('lift-any', 'lift-can', 'place-any'))
    totals = {strategy: sizes.sum(axis=1) for strategy, sizes in counts.items()}
    assert [totals[Impersonation.NONE][task] for task in (lift_any, lift_can, place_any)] == [4, 0, 0]
    assert [totals[Impersonation.SKILL][task] for task in (lift_any, lift_can, place_any)] == [4, 4, 0]
    assert [totals[Impersonation.ALL][task] for task in (lift_any, lift_can, place_any)] == [4, 4, 4]
    solved = int((truth[:, lift_any] == Verdict.SUCCESS).sum())
    assert counts[Impersonation.NONE][lift_any].tolist() == [4 - solved, solved]


def test_what_the_learner_cannot_use_is_not_counted(data):
    rows, verdicts = rows_and_verdicts(data, SIMULATOR)
    verdicts[0] = Verdict.UNSURE
    rows = [rows[0], replace(rows[1], termination=Termination.ABORTED), replace(rows[2], task='lift-anvil'), rows[3]]
    assert count_impersonated(rows, verdicts, TASKS)[Impersonation.NONE].sum() == 1


def test_an_episode_counts_for_a_task_that_was_renamed_after_it(data, tmp_path):
    folder = DataFolder(shutil.copytree(data.root, tmp_path / 'kitchen'))
    rename('lift-any', 'lift-thing', tmp_path / 'tasks.yaml', [folder.root])
    renamed = load_tasks(tmp_path / 'tasks.yaml')
    contents = read_contents(folder, renamed)
    grown = {task.task: task for task in growth(contents.rows, contents.verdicts, renamed)}['lift-thing']
    assert grown.attempts == 4
    assert grown.successes[-1] + grown.failures[-1] == 4
    counts = count_impersonated(contents.rows, contents.verdicts, renamed)
    assert counts[Impersonation.NONE][renamed.index('lift-thing')].sum() == 4


def test_the_counts_are_printed_and_drawn_to_the_file_asked_for(data, tmp_path, capsys):
    figure = tmp_path / 'new' / 'counts.svg'
    report(data.root, figure, impersonation=True)
    printed = capsys.readouterr().out
    assert re.search(r'lift-any +\d +\d +\d +\d +\d +\d', printed)
    assert str(figure) in printed.replace('\n', '')
    assert figure.read_text().lstrip().startswith('<?xml')
    report(data.root, impersonation=True)
    assert (data.root / 'impersonation.png').read_bytes().startswith(b'\x89PNG')
    with pytest.raises(ConfigurationError, match=r'counts\.doc.*\.png or \.svg'):
        report(data.root, tmp_path / 'counts.doc', impersonation=True)


def test_a_verdict_against_the_truth_is_shown_as_the_mistake_it_is(data):
    contents = read_contents(data, TASKS)
    rows, outcomes, truth = contents.rows, contents.outcomes, contents.truth
    wrong = mistakes(rows, outcomes, truth, TASKS, number=5)
    assert [(example.row.episode_id, example.outcome.task) for example in wrong] == [(rows[0].episode_id, 'lift-any')]
    right = [example for example in examples(rows, outcomes, truth, TASKS) if not example.mistaken]
    assert all(example.outcome.verdict == example.truth for example in right)


def test_cadence_is_summed_over_steps_not_averaged_over_episodes(tmp_path):
    data = DataFolder(tmp_path)
    line = {
        'episode_id': 'e',
        'robot': 'robot1',
        'policy': 'scripted',
        'decision_time': 0.001,
        'image_age': None,
        'messages': 5,
        'dropped': 1,
    }
    lines = [
        {**line, 'steps': 10, 'seconds': 1.0},
        {**line, 'steps': 30, 'seconds': 1.5, 'late_steps': 2, 'slowest_step': 0.7},
        {**line, 'steps': 0, 'seconds': 3.0},
    ]
    cadence_file(data).write_text('\n'.join(map(json.dumps, lines)))
    (cadence,) = summarise(read_cadence(data))
    assert (cadence.steps_per_second, cadence.episodes, cadence.dropped, cadence.image_age) == (16.0, 2, 2, None)
    assert (cadence.late_steps, cadence.timed_steps, cadence.slowest_step) == (2, 30, 0.7), 'of those that were timed'


def test_a_torn_line_of_the_cadence_is_passed_over_and_the_report_says_so(data, tmp_path):
    folder = DataFolder(tmp_path / 'copy')
    shutil.copytree(data.root, folder.root)
    whole = cadence_file(folder).read_bytes()
    torn = whole.splitlines()[0][:40]
    cadence_file(folder).write_bytes(whole + torn + b'\n' + bytes(9) + b'\xff\n' + whole)
    assert len(read_cadence(folder)) == 2 * len(read_cadence(data)) == 6
    assert damaged_lines(folder) == 2
    write_report(folder, tmp_path / 'report.html', TASKS)
    assert '2 lines of cadence.jsonl that cannot be read' in words((tmp_path / 'report.html').read_text())
    write_report(data, tmp_path / 'whole.html', TASKS)
    assert 'cannot be read' not in words((tmp_path / 'whole.html').read_text())


def test_what_a_newer_detector_says_otherwise_is_counted_and_shown(data, tmp_path):
    folder = DataFolder(tmp_path / 'copy')
    shutil.copytree(data.root, folder.root)
    rows = Catalogue(folder).episodes()
    assert compare_newest(folder, rows, TASKS) is None, 'there is one detector'
    store = LabelStore(folder)
    for number, (episode_id, before) in enumerate(sorted(store.outcomes_by('v1').items())):
        after = dict(before)
        if number < 3:
            old = before['lift-any']
            new = Verdict.UNSURE if number == 2 else Verdict(1 - old.verdict)
            after['lift-any'] = Outcome('lift-any', new, 1 - old.probability)
        store.add(episode_id, DETECTOR, 'v2', after.values())
    store.close()

    comparison = compare_newest(folder, rows, TASKS)
    assert (comparison.older, comparison.newer, comparison.episodes) == ('v1', 'v2', 3)
    assert {one.task for one in comparison.tasks if one.changes} == {'lift-any'}
    (lift,) = (one for one in comparison.tasks if one.changes)
    assert (lift.graded, len(lift.changes), lift.count(Verdict.UNSURE)) == (4, 3, 1)
    assert [change.row.episode_id for change in comparison.examples(1)] == [lift.changes[0].row.episode_id]

    write_report(folder, tmp_path / 'report.html', TASKS)
    page = (tmp_path / 'report.html').read_text()
    assert 'of 3 episodes at least one verdict changed' in words(page)
    assert re.search(r'lift-any 4 3 \d \d 1', words(page))
    assert page.count('became') == 3

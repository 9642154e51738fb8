from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from small_disk import small_disk

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_rebuild import rebuild
from mtopt_core.label_store import DETECTOR, HUMAN, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.verdict_query import NOT_JUDGED


def _outcome(verdict: Verdict, task: str = 'lift-can', probability: float = 0.5) -> Outcome:
    return Outcome(task, verdict, probability)


FAILURE, SUCCESS, UNSURE = map(_outcome, (Verdict.FAILURE, Verdict.SUCCESS, Verdict.UNSURE))


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / 'data')


@pytest.fixture
def store(data: DataFolder) -> LabelStore:
    store = LabelStore(data)
    yield store
    store.close()


def test_a_human_counts_more_than_a_detector_whichever_came_last(store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [FAILURE], who='Ada')
    store.add('e1', DETECTOR, '9', [SUCCESS])
    store.add('e2', DETECTOR, '9', [SUCCESS])
    store.add('e2', HUMAN, '', [FAILURE], who='Ada')
    assert store.all_outcomes() == {'e1': {'lift-can': FAILURE}, 'e2': {'lift-can': FAILURE}}


def test_the_newest_version_of_a_detector_counts_whenever_it_graded(store: LabelStore) -> None:
    store.add('e1', DETECTOR, '20261102T000000_000100', [SUCCESS])
    store.add('e1', DETECTOR, '20261101T000000_000900', [FAILURE])
    assert store.outcomes('e1') == {'lift-can': SUCCESS}


def test_the_simulator_counts_only_when_asked_for(store: LabelStore) -> None:
    store.add('e1', SIMULATOR, '', [SUCCESS])
    assert store.outcomes('e1') == {}
    assert store.outcomes('e1', [SIMULATOR]) == {'lift-can': SUCCESS}
    store.add('e1', DETECTOR, '1', [FAILURE])
    assert store.outcomes('e1', [DETECTOR, SIMULATOR]) == {'lift-can': FAILURE}
    assert store.outcomes('e1', [SIMULATOR, DETECTOR]) == {'lift-can': SUCCESS}


def test_each_task_counts_by_itself(store: LabelStore) -> None:
    milk = _outcome(Verdict.SUCCESS, 'lift-milk')
    store.add('e1', DETECTOR, '1', [SUCCESS, milk])
    store.add('e1', HUMAN, '', [FAILURE], who='Ada')
    assert store.outcomes('e1') == {'lift-can': FAILURE, 'lift-milk': milk}


def test_a_human_may_be_unsure_and_that_counts(store: LabelStore) -> None:
    store.add('e1', DETECTOR, '1', [SUCCESS])
    store.add('e1', HUMAN, '', [UNSURE])
    assert store.outcomes('e1') == {'lift-can': UNSURE}


def test_a_human_may_change_the_mind_and_the_journal_keeps_both(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS], who='Ada')
    store.add('e1', HUMAN, '', [FAILURE], who='Grace')
    assert store.outcomes('e1') == {'lift-can': FAILURE}
    lines = [json.loads(line) for line in data.journal.read_text().splitlines()]
    assert [(line['who'], line['outcomes'][0]['verdict']) for line in lines] == [
        ('Ada', 'success'),
        ('Grace', 'failure'),
    ]


def test_only_humans_are_journalled(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', DETECTOR, '1', [SUCCESS])
    store.add('e1', SIMULATOR, '', [SUCCESS])
    assert data.journal.read_bytes() == b''


def test_a_lost_store_is_rebuilt_from_the_journal(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS], who='Ada')
    store.add('e1', HUMAN, '', [FAILURE], who='Ada')
    store.add('e2', HUMAN, '', [UNSURE], who='Ada')
    before = store.all_outcomes()
    store.close()
    for path in data.root.glob('labels.sqlite*'):
        path.unlink()
    restored = rebuild(data)
    assert (restored.labels, restored.torn) == (3, 0)
    again = LabelStore(data)
    assert again.all_outcomes() == before
    again.close()


def test_rebuilding_drops_what_no_human_said_and_keeps_detectors(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS])
    store.add('e2', DETECTOR, '1', [SUCCESS])
    data.journal.write_bytes(b'')
    rebuild(data)
    assert store.all_outcomes() == {'e2': {'lift-can': SUCCESS}}


def test_a_damaged_store_says_how_to_mend_it_and_is_mended(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS])
    store.close()
    data.labels.write_bytes(b'no database' * 1000)
    with pytest.raises(LabelError, match=r'labels\.sqlite.*mtopt labels rebuild'):
        LabelStore(data)
    rebuild(data)
    again = LabelStore(data)
    assert again.outcomes('e1') == {'lift-can': SUCCESS}
    again.close()
    assert data.labels.with_suffix('.damaged').exists()


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    with small_disk(tmp_path / 'disk', '1m') as disk:
        data = DataFolder(disk)
        with closing(LabelStore(data)) as store:
            store.add('e1', DETECTOR, '1', [SUCCESS])
        filler = disk / 'filler'
        with filler.open('wb', buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        with pytest.raises(LabelError, match='Make room'):
            LabelStore(data)
        with pytest.raises(LabelError, match='left as it is'):
            rebuild(data)
        filler.unlink()
        with closing(LabelStore(data)) as store:
            assert store.outcomes('e1') == {'lift-can': SUCCESS}


def test_a_torn_line_costs_only_itself(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS])
    whole = data.journal.read_bytes()
    data.journal.write_bytes(whole + whole[: len(whole) // 2])
    store.add('e2', HUMAN, '', [FAILURE])
    restored = rebuild(data)
    assert (restored.labels, restored.torn) == (2, 1)
    assert store.all_outcomes() == {'e1': {'lift-can': SUCCESS}, 'e2': {'lift-can': FAILURE}}


def test_wherever_the_journal_is_cut_the_labels_before_come_back(data: DataFolder, store: LabelStore) -> None:
    for number in range(4):
        store.add(f'e{number}', HUMAN, '', [SUCCESS], who='Ada')
    journal = data.journal.read_bytes()
    for size in range(0, len(journal), 13):
        data.journal.write_bytes(journal[:size])
        assert rebuild(data).labels >= journal[:size].count(b'\n')


ADD = """
import sys
from pathlib import Path
sys.path[:] = {path!r}
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
store = LabelStore(DataFolder(Path({data!r})))
number = 0
while number < {count}:
    store.add(f'{name}-{{number}}', 'human', '', [Outcome('lift-can', Verdict.SUCCESS, 1.0)], 'Ada')
    store.add(f'{name}-{{number}}', 'detector', '1', [Outcome('lift-any', Verdict.FAILURE, 0.0)])
    print(number, flush=True)
    number += 1
"""


def _adder(data: DataFolder, name: str, count: int) -> subprocess.Popen[str]:
    code = ADD.format(path=sys.path, data=str(data.root), name=name, count=count)
    return subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)


def test_several_processes_write_at_once_and_nothing_is_lost(data: DataFolder) -> None:
    adders = [_adder(data, f'p{number}', 40) for number in range(3)]
    time.sleep(0.3)
    while any(adder.poll() is None for adder in adders):
        rebuild(data)
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    for adder in adders:
        adder.stdout.close()
    store = LabelStore(data)
    outcomes = store.all_outcomes()
    store.close()
    assert sorted(outcomes) == sorted(f'p{process}-{number}' for process in range(3) for number in range(40))
    assert all(set(tasks) == {'lift-can', 'lift-any'} for tasks in outcomes.values())


def test_what_a_killed_process_confirmed_is_there(data: DataFolder) -> None:
    with _adder(data, 'p', 10**9) as adder:
        for line in adder.stdout:
            if int(line) == 25:
                adder.send_signal(signal.SIGKILL)
                break
    store = LabelStore(data)
    assert {f'p-{number}' for number in range(26)} <= set(store.all_outcomes())
    store.close()
    for path in data.root.glob('labels.sqlite*'):
        path.unlink()
    assert rebuild(data).labels >= 26


def test_a_label_that_the_disk_refuses_is_not_half_kept(data: DataFolder, store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS])
    before = data.journal.read_bytes()
    code = (
        'import resource, signal\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        + ADD.replace('number = 0\n', 'resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\nnumber = 0\n')
    ).format(path=sys.path, data=str(data.root), name='p', count=1, limit=len(before) + 20)
    done = subprocess.run([sys.executable, '-c', code], check=False, capture_output=True, text=True)
    assert 'LabelError' in done.stderr
    assert 'labels were not stored in' in done.stderr
    assert data.journal.read_bytes() == before
    assert set(store.all_outcomes()) == {'e1'}


def _asked(store: LabelStore, source: str, episode_ids: list[str] | None = None) -> dict[str, list[int]]:
    ids = None if episode_ids is None else np.array([episode_id.encode() for episode_id in episode_ids], 'S')
    found, verdicts = store.verdicts(source, ['lift-any', 'lift-can'], ids)
    return dict(zip(map(bytes.decode, found.tolist()), verdicts.tolist(), strict=True))


def test_verdicts_as_arrays_are_the_newest_versions_of_the_source_and_the_tasks_asked_for(store: LabelStore) -> None:
    store.add('e1', DETECTOR, '2', [FAILURE, _outcome(Verdict.SUCCESS, 'fold-cloth')])
    store.add('e1', DETECTOR, '1', [SUCCESS, _outcome(Verdict.SUCCESS, 'lift-any')])
    store.add('e2', DETECTOR, '1', [UNSURE])
    store.add('e3', DETECTOR, '1', [_outcome(Verdict.SUCCESS, 'fold-cloth')])
    store.add('e1', HUMAN, '', [SUCCESS], who='Ada')
    assert _asked(store, DETECTOR) == {'e1': [Verdict.SUCCESS, Verdict.FAILURE], 'e2': [NOT_JUDGED, Verdict.UNSURE]}
    assert _asked(store, HUMAN) == {'e1': [NOT_JUDGED, Verdict.SUCCESS]}
    assert _asked(store, SIMULATOR) == {}


def test_verdicts_of_some_episodes_are_those_of_all(store: LabelStore) -> None:
    rng = np.random.default_rng(0)
    for version in ('1', '2'):
        graded = {f'é{number}': [_outcome(Verdict(int(rng.integers(3))))] for number in range(50)}
        store.add_many(DETECTOR, version, graded)
    every, some = _asked(store, DETECTOR), [f'é{number}' for number in range(0, 50, 3)]
    assert len(every) == 50
    assert _asked(store, DETECTOR, [*some, 'e51']) == {episode_id: every[episode_id] for episode_id in some}


def test_who_has_seen_a_grading_is_told_which_episodes_were_graded_after_it(store: LabelStore) -> None:
    store.add('e1', HUMAN, '', [SUCCESS], who='Ada')
    store.add('e2', DETECTOR, '1', [SUCCESS])
    seen = store.last_grading()
    assert store.graded_since(seen).tolist() == []
    store.add('e2', DETECTOR, '2', [FAILURE])
    store.add_many(DETECTOR, '2', {'e3': [FAILURE, _outcome(Verdict.FAILURE, 'lift-any')]})
    assert set(store.graded_since(seen).tolist()) == {b'e2', b'e3'}
    seen = store.last_grading()
    store.restore_journal()
    assert set(store.graded_since(seen).tolist()) == {b'e1'}


def test_a_store_made_anew_does_not_know_the_gradings_of_the_one_before(data: DataFolder) -> None:
    before = LabelStore(data)
    before.add('e1', HUMAN, '', [SUCCESS], who='Ada')
    seen = before.last_grading()
    before.close()
    data.labels.write_bytes(b'damaged')
    rebuild(data)
    after = LabelStore(data)
    assert after.graded_since(seen) is None
    assert set(after.graded_since(after.last_grading() - 1).tolist()) == {b'e1'}
    after.close()


def test_ten_thousand_episodes_are_stored_and_read_in_seconds(store: LabelStore) -> None:
    tasks = [_outcome(Verdict.SUCCESS, f'task-{number}') for number in range(12)]
    graded = {f'episode-{number:05d}': tasks for number in range(10_000)}
    start = time.perf_counter()
    store.add_many(DETECTOR, '1', graded)
    assert len(store.all_outcomes()) == 10_000
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize('source', ['', 'me'])
def test_an_unknown_source_is_an_error(store: LabelStore, source: str) -> None:
    with pytest.raises(LabelError, match='known: human, detector, simulator'):
        store.add('e1', source, '', [SUCCESS])
    with pytest.raises(LabelError, match='known'):
        store.all_outcomes([source])
    with pytest.raises(LabelError, match='known'):
        store.verdicts(source, ['lift-can'])


def test_what_is_no_outcome_is_refused(store: LabelStore) -> None:
    with pytest.raises(LabelError, match='model version'):
        store.add('e1', HUMAN, '1', [SUCCESS])
    with pytest.raises(LabelError):
        store.add('e1', DETECTOR, '1', [_outcome(Verdict.SUCCESS, probability=float('nan'))])
    assert store.all_outcomes() == {}

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.human_labels import NONE_SEEN, LabelChange, LabelConflictError
from mtopt_core.label_rebuild import rebuild
from mtopt_core.label_store import HUMAN, LabelStore
from mtopt_core.paths import DataFolder

KEY = ('e1', 'lift-can')


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / 'data')


@pytest.fixture
def store(data: DataFolder) -> LabelStore:
    store = LabelStore(data, patience=0.2)
    yield store
    store.close()


def say(verdict: Verdict | None, who: str, seen: int | None = None, key: tuple[str, str] = KEY) -> list[LabelChange]:
    return [LabelChange(*key, verdict, who, seen)]


def lines(data: DataFolder) -> list[dict]:
    return [json.loads(line) for line in data.journal.read_text().splitlines()]


def test_a_label_tells_who_when_and_what_it_replaced(data: DataFolder, store: LabelStore) -> None:
    first = store.change_labels(say(Verdict.SUCCESS, 'Ada'))[KEY]
    second = store.change_labels(say(Verdict.FAILURE, 'Grace', first.stamp))[KEY]
    assert (second.verdict, second.who) == (Verdict.FAILURE, 'Grace')
    assert second.stamp > first.stamp
    assert 'replaced' not in lines(data)[0]['outcomes'][0]
    assert lines(data)[1]['outcomes'][0]['replaced'] == {'verdict': 'success', 'who': 'Ada', 'stamp': first.stamp}
    assert [grading.who for grading in store.history(*KEY)] == ['Ada', 'Grace']
    assert store.history(*KEY)[1].replaced == {'lift-can': first}


def test_labels_added_in_bulk_tell_what_they_replaced_too(data: DataFolder, store: LabelStore) -> None:
    first = store.change_labels(say(Verdict.SUCCESS, 'Ada'))[KEY]
    store.add('e1', HUMAN, '', [Outcome('lift-can', Verdict.UNSURE, 0.5)], who='Grace')
    assert store.history(*KEY)[1].replaced == {'lift-can': first}


def test_a_label_can_be_taken_back_and_stays_so_after_a_rebuild(data: DataFolder, store: LabelStore) -> None:
    label = store.change_labels(say(Verdict.SUCCESS, 'Ada'))[KEY]
    assert store.change_labels(say(None, 'Ada', label.stamp)) == {}
    assert store.outcomes('e1') == {}
    assert lines(data)[1]['outcomes'][0]['verdict'] == 'withdrawn'
    rebuild(data)
    assert store.outcomes('e1') == {}
    assert store.history(*KEY)[1].replaced == {'lift-can': label}


def test_what_somebody_else_said_meanwhile_is_not_replaced_unseen(data: DataFolder, store: LabelStore) -> None:
    theirs = store.change_labels(say(Verdict.SUCCESS, 'Ada', NONE_SEEN))[KEY]
    with pytest.raises(LabelConflictError, match=r'\(Ada\) said success meanwhile.*nothing was stored') as refused:
        store.change_labels(
            [*say(Verdict.FAILURE, 'Grace', NONE_SEEN), *say(Verdict.FAILURE, 'Grace', key=('e2', 'lift-can'))]
        )
    assert refused.value.labels == {KEY: theirs}
    assert store.labels([KEY, ('e2', 'lift-can')]) == {KEY: theirs}
    store.change_labels(say(Verdict.FAILURE, 'Grace', theirs.stamp))
    assert store.labels([KEY])[KEY].who == 'Grace'
    with pytest.raises(LabelConflictError):
        store.change_labels(say(None, 'Ada', theirs.stamp))


def test_a_click_that_is_sent_twice_is_one_label(data: DataFolder, store: LabelStore) -> None:
    once = store.change_labels(say(Verdict.SUCCESS, 'Ada', NONE_SEEN))
    assert store.change_labels(say(Verdict.SUCCESS, 'Ada', NONE_SEEN)) == once
    assert len(lines(data)) == 1
    store.change_labels(say(Verdict.SUCCESS, 'Grace', once[KEY].stamp))
    assert store.labels([KEY])[KEY].who == 'Grace'


def test_many_people_at_once_lose_and_double_nothing(data: DataFolder) -> None:
    refused = []

    def label(who: str) -> None:
        store = LabelStore(data)
        for number in range(30):
            try:
                store.change_labels(say(Verdict.SUCCESS, who, NONE_SEEN, (f'e{number}', 'lift-can')))
            except LabelConflictError:
                refused.append((who, number))
        store.close()

    people = [threading.Thread(target=label, args=(f'person{number}',)) for number in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(lines(data)) == 30
    assert len(refused) == 90


def test_what_a_crash_kept_out_of_the_store_is_taken_in_when_it_is_opened(data: DataFolder, store: LabelStore) -> None:
    store.change_labels(say(Verdict.SUCCESS, 'Ada'))
    line = lines(data)[0]
    line['episode_id'] = 'e2'
    with data.journal.open('a') as journal:
        journal.write(json.dumps(line) + '\n{"torn')
    again = LabelStore(data)
    assert set(again.all_outcomes()) == {'e1', 'e2'}
    store.change_labels(say(Verdict.FAILURE, 'Ada', key=('e3', 'lift-can')))
    assert set(again.all_outcomes()) == {'e1', 'e2', 'e3'}
    again.close()


def test_a_store_without_the_journals_length_takes_the_whole_journal_in(data: DataFolder, store: LabelStore) -> None:
    store.change_labels(say(Verdict.SUCCESS, 'Ada'))
    with sqlite3.connect(data.labels) as database:
        database.execute('DROP TABLE journal')
        database.execute('DELETE FROM outcomes')
    again = LabelStore(data)
    assert again.labels([KEY])[KEY].who == 'Ada'
    again.close()


def test_a_store_that_another_process_holds_is_named_and_nothing_is_stored(data: DataFolder, store: LabelStore) -> None:
    other = sqlite3.connect(data.labels)
    other.execute('BEGIN IMMEDIATE')
    with pytest.raises(LabelError, match=r'labels\.sqlite is held by another process; nothing was stored'):
        store.change_labels(say(Verdict.SUCCESS, 'Ada'))
    other.rollback()
    other.close()
    assert data.journal.read_bytes() == b''
    store.change_labels(say(Verdict.SUCCESS, 'Ada'))
    assert len(lines(data)) == 1


def test_a_clock_that_is_set_back_gives_no_stamp_twice(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('time.time_ns', lambda: 1000)
    stamps = [store.change_labels(say(verdict, 'Ada'))[KEY].stamp for verdict in (Verdict.SUCCESS, Verdict.FAILURE)]
    assert stamps == [1000, 1001]

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_import import Imported, import_labels
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder

TASKS = ('lift-any', 'lift-can')
EPISODES = frozenset({'e1', 'e2', 'e3'})
GOOD = 'episode_id,task,verdict,who\ne1,lift-can,success,Ada\ne2,lift-can,failure,Grace\n'


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    store = LabelStore(DataFolder(tmp_path))
    yield store
    store.close()


@pytest.fixture
def take(store: LabelStore, tmp_path: Path):
    def take(text: str | bytes, name: str = 'labels.csv', who: str = '') -> Imported:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return import_labels(path, store, TASKS, EPISODES, who)

    return take


def test_labels_of_a_csv_file_are_stored_with_their_names(store: LabelStore, take) -> None:
    assert take(GOOD) == Imported(stored=2, replaced=0, known=0)
    assert store.outcomes('e1') == {'lift-can': Outcome('lift-can', Verdict.SUCCESS, 1.0)}
    assert store.labels([('e2', 'lift-can')])['e2', 'lift-can'].who == 'Grace'
    assert take(GOOD) == Imported(stored=0, replaced=0, known=2)
    assert take(GOOD.replace('success', 'unsure')) == Imported(stored=1, replaced=1, known=1)


@pytest.mark.parametrize(
    'text',
    [
        '\ufeffepisode_id,task,verdict\r\ne1,lift-can,SUCCESS\r\n\r\n',
        'verdict , task,episode_id\nsuccess,lift-can, e1\n',
        'episode_id,task,verdict\n"e1","lift-can","success"',
    ],
)
def test_what_spreadsheets_write_is_understood(store: LabelStore, take, text: str) -> None:
    assert take(text, who='Ada').stored == 1
    assert store.labels([('e1', 'lift-can')])['e1', 'lift-can'].who == 'Ada'


def test_labels_of_a_json_file_are_stored(take) -> None:
    rows = [{'episode_id': 'e1', 'task': 'lift-can', 'verdict': 'success'}]
    assert take(json.dumps(rows), 'labels.json', 'Ada').stored == 1


def test_one_wrong_line_and_nothing_is_stored_but_every_wrong_line_is_named(store: LabelStore, take) -> None:
    text = (
        GOOD
        + 'e9,lift-can,success,Ada\ne1,fold,success,Ada\ne3,lift-can,maybe,Ada\ne3,lift-any,success,\ne1,lift-can\n'
    )
    with pytest.raises(LabelError) as refused:
        take(text + 'e2,lift-can,success,Ada\n')
    assert str(refused.value).partition('labels.csv: ')[2] == (
        "6 of 8 labels are wrong, nothing was stored: line 4: unknown episode 'e9'; line 5: unknown task 'fold'; "
        "line 6: verdict 'maybe' is none of failure, success, unsure; line 7: nobody is named in who, nor by --who; "
        'line 8: 2 fields where the header has 4; line 9: the same episode and task as line 3'
    )
    assert store.all_outcomes() == {}


def test_of_very_many_wrong_lines_the_first_are_named(take) -> None:
    with pytest.raises(LabelError, match=r'500 of 502 labels are wrong.*; and 490 more$'):
        take(GOOD + 'e9,lift-can,success,Ada\n' * 500)


@pytest.mark.parametrize(
    ('text', 'name', 'message'),
    [
        ('', 'labels.csv', 'its header lacks episode_id, task, verdict'),
        ('a,b\n', 'labels.csv', "lacks episode_id, task, verdict and has 'a', 'b', unknown or twice"),
        ('episode_id,task,task,verdict\n', 'labels.csv', "has 'task', unknown or twice"),
        ('episode_id,task,verdict\n', 'labels.csv', 'holds no labels'),
        ('episode_id,task,verdict\n"e1,lift', 'labels.csv', 'line 2 is no CSV'),
        (b'episode_id,task,verdict\n\xff\xfe', 'labels.csv', 'not UTF-8 at byte 24'),
        (GOOD, 'labels.txt', 'must be named .csv or .json'),
        ('{', 'labels.json', 'is no JSON'),
        ('{}', 'labels.json', 'must be a JSON list of objects'),
        ('[' * 100_000, 'labels.json', 'is no JSON'),
        ('[1]', 'labels.json', 'entry 1: not an object of episode_id, task, verdict'),
        ('[{"episode_id": 1, "task": "lift-can", "verdict": "success"}]', 'labels.json', 'episode_id is 1, not a line'),
        ('[{"episode_id": ["e1"], "task": "x", "verdict": "y"}]', 'labels.json', r"episode_id is \['e1'\]"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(store: LabelStore, take, text: str, name: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        take(text, name)
    assert store.all_outcomes() == {}


def test_a_file_that_is_not_there_is_named(store: LabelStore, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r'gone\.csv cannot be read: No such file'):
        import_labels(tmp_path / 'gone.csv', store, TASKS, EPISODES)


@pytest.mark.parametrize('name', ['labels.csv', 'labels.json'])
def test_whatever_is_in_a_file_it_is_taken_in_or_refused_by_name(store: LabelStore, take, name: str) -> None:
    """Fuzzed: bytes of a good file are changed, left out and doubled; nothing is ever half stored."""
    rng = random.Random(0)
    rows = [
        dict(zip(('episode_id', 'task', 'verdict', 'who'), line.split(','), strict=True)) for line in GOOD.split()[1:]
    ]
    good = GOOD.encode() if name == 'labels.csv' else json.dumps(rows).encode()
    taken, refused = 0, []
    for _ in range(1500):
        spoiled = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(spoiled))
            match rng.randrange(4):
                case 0:
                    spoiled[place] = rng.randrange(256)
                case 1:
                    del spoiled[place : place + rng.randint(1, 20)]
                case 2:
                    spoiled[place:place] = spoiled[place : place + 20]
                case 3:
                    spoiled[place:place] = rng.choice(
                        [b'"', b',', b'\n', b'\r', b'\0', b'{', b'[', b'\\u0000', b'1e999']
                    )
            if not spoiled:
                break
        before = store.all_outcomes()
        try:
            done = take(bytes(spoiled), name)
        except LabelError as error:
            refused.append(str(error))
            assert store.all_outcomes() == before
        else:
            taken += 1
            assert done.stored + done.known in (1, 2)
    assert 0 < taken < 1500
    assert all(name in message for message in refused)

"""Labels from a file: all of it is taken in, or nothing and every line that is wrong is named.

CSV with a header, or a JSON list of objects, of the same fields:

    episode_id,task,verdict,who
    20261128T021947_robot1_0a1b2c3d,lift-can,success,Ada

A verdict is success, failure or unsure. The column `who` may be left out where one person is named for all of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtopt_core.episode import Verdict
from mtopt_core.errors import LabelError
from mtopt_core.human_labels import Key, LabelChange
from mtopt_core.label_store import LabelStore

REQUIRED = ('episode_id', 'task', 'verdict')
WHO = 'who'
TOLD = 10
"""Wrong lines that are told one by one."""

_VERDICTS = {verdict.name.lower(): verdict for verdict in Verdict}


@dataclass(frozen=True)
class Imported:
    """What came of a file.

    Attributes:
        stored: Labels that were new or said something else than before.
        replaced: Those of them that replaced another one.
        known: Labels that were there already.
    """

    stored: int
    replaced: int
    known: int


def import_labels(
    path: Path, store: LabelStore, tasks: Container[str], episode_ids: Container[str], who: str = ''
) -> Imported:
    """Take the labels of a file in, synced in the journal when this returns.

    Args:
        path: The file, `.csv` or `.json`.
        store: The label store.
        tasks: Names of the tasks there are.
        episode_ids: The episodes there are.
        who: Name of the person, where the file does not tell.

    Raises:
        LabelError: The file cannot be read or a line is wrong; the message names the file and the lines. Nothing was
            stored.
    """
    changes = read_labels_file(path, tasks, episode_ids, who)
    before = store.labels((change.episode_id, change.task) for change in changes)
    after = store.change_labels(changes)
    stored = {key for key, label in after.items() if before.get(key) != label}
    return Imported(len(stored), len(stored & before.keys()), len(changes) - len(stored))


def read_labels_file(
    path: Path, tasks: Container[str], episode_ids: Container[str], who: str = ''
) -> list[LabelChange]:
    """Read a file of labels; arguments and errors as for `import_labels`."""
    troubles: list[str] = []
    changes: list[LabelChange] = []
    places: dict[Key, str] = {}
    for place, row in _rows(path):
        try:
            change = _change(row, tasks, episode_ids, who)
            key = change.episode_id, change.task
            if key in places:
                raise ValueError(f'the same episode and task as {places[key]}')
        except ValueError as error:
            troubles.append(f'{place}: {error}')
        else:
            places[key] = place
            changes.append(change)
    if troubles:
        more = f'; and {len(troubles) - TOLD} more' if len(troubles) > TOLD else ''
        raise LabelError(
            f'{path}: {len(troubles)} of {len(troubles) + len(changes)} labels are wrong, nothing was stored: '
            f'{"; ".join(troubles[:TOLD])}{more}'
        )
    if not changes:
        raise LabelError(f'{path} holds no labels')
    return changes


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each label's place, for people, and its fields.

    Raises:
        LabelError: The file cannot be read, or is neither CSV with the columns nor a JSON list of objects.
    """
    try:
        text = path.read_bytes().decode('utf-8-sig')
    except OSError as error:
        raise LabelError(f'{path} cannot be read: {error.strerror}') from None
    except UnicodeDecodeError as error:
        raise LabelError(f'{path} is not UTF-8 at byte {error.start}; save it as CSV in UTF-8') from None
    if path.suffix == '.json':
        yield from _json_rows(path, text)
    elif path.suffix == '.csv':
        yield from _csv_rows(path, text)
    else:
        raise LabelError(f'{path} must be named .csv or .json, to tell how to read it')


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=''), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_fields(path, header)
        for row in reader:
            place = f'line {reader.line_num}'
            if not row:
                continue
            if len(row) != len(header):
                yield place, {'': f'{len(row)} fields where the header has {len(header)}'}
            else:
                yield place, dict(zip(header, (field.strip() for field in row), strict=True))
    except csv.Error as error:
        raise LabelError(f'{path}: line {reader.line_num} is no CSV ({error}); nothing was stored') from None


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f'{path} is no JSON: {error}') from None
    if not isinstance(rows, list):
        raise LabelError(f'{path} must be a JSON list of objects with {", ".join(REQUIRED)}')
    for number, row in enumerate(rows, 1):
        place = f'entry {number}'
        if isinstance(row, dict) and set(REQUIRED) <= set(row) <= {*REQUIRED, WHO}:
            yield place, row
        else:
            yield place, {'': f'not an object of {", ".join(REQUIRED)} and perhaps {WHO}'}


def _check_fields(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    others = sorted({name for name in names if name not in (*REQUIRED, WHO) or names.count(name) > 1})
    if missing or others:
        wrong = [f'lacks {", ".join(missing)}'] if missing else []
        wrong += [f'has {", ".join(map(repr, others))}, unknown or twice'] if others else []
        raise LabelError(f'{path}: its header {" and ".join(wrong)}; wanted: {", ".join(REQUIRED)} and perhaps {WHO}')


def _change(row: Mapping[str, Any], tasks: Container[str], episode_ids: Container[str], who: str) -> LabelChange:
    """Return the label of a row.

    Raises:
        ValueError: Something is wrong with it.
    """
    if '' in row:
        raise ValueError(row[''])
    fields = {name: row.get(name, '') for name in (*REQUIRED, WHO)}
    for name, value in fields.items():
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(f'{name} is {_short(value)}, not a line of text')
    if fields['episode_id'] not in episode_ids:
        raise ValueError(f'unknown episode {_short(fields["episode_id"])}')
    if fields['task'] not in tasks:
        raise ValueError(f'unknown task {_short(fields["task"])}')
    verdict = _VERDICTS.get(fields['verdict'].lower())
    if verdict is None:
        raise ValueError(f'verdict {_short(fields["verdict"])} is none of {", ".join(_VERDICTS)}')
    who = fields[WHO] or who
    if not who:
        raise ValueError(f'nobody is named in {WHO}, nor by --who')
    return LabelChange(fields['episode_id'], fields['task'], verdict, who)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}…'

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mtopt_core.errors import CheckpointError, UnknownTaskError
from mtopt_core.label_store import DETECTOR, HUMAN, SIMULATOR, LabelStore
from mtopt_core.tasks import load_tasks
from mtopt_success_detector.relabel import relabel

TASKS = load_tasks()
app = typer.Typer()
app.command()(relabel)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return ' '.join(result.output.split())


def digests(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob('*') if path.is_file()}


def verdicts(data) -> tuple[list[bytes], np.ndarray]:
    with closing(LabelStore(data)) as store:
        ids, found = store.verdicts(DETECTOR, TASKS.names)
    return ids.tolist(), found


def test_only_the_label_store_changes_and_people_s_labels_stay(squares, trained):
    truths = squares.collect(20, seed=1)
    first = min(truths)
    squares.label({first: {'lift-any': not truths[first]['lift-any']}}, HUMAN)
    bags, journal = digests(squares.data.bags), squares.data.journal.read_bytes()
    said = run('--bags', squares.data.root, '--detector', trained)
    assert f'20 episodes graded for 12 tasks by detector {trained.name}' in said
    assert digests(squares.data.bags) == bags
    assert squares.data.journal.read_bytes() == journal
    with closing(LabelStore(squares.data)) as store:
        assert set(store.all_outcomes([DETECTOR])) == set(store.all_outcomes([SIMULATOR])) == set(truths)
        counts = store.outcomes(first)
        assert bool(counts['lift-any'].verdict) != truths[first]['lift-any'], 'a person has the last word'
        assert len(counts) == 12


def test_a_second_relabelling_does_what_is_left_and_decodes_nothing(squares, trained):
    squares.collect(12, seed=1)
    assert '12 episodes graded for 2 tasks' in run(
        '--bags', squares.data.root, '--detector', trained.parent, '--tasks', 'lift-any, lift-milk'
    )
    assert (verdicts(squares.data)[1] >= 0).sum() == 24
    for file in squares.data.bags.rglob('*.mcap'):
        file.write_bytes(b'')
    assert '12 episodes graded for 12 tasks' in run('--bags', squares.data.root, '--detector', trained)
    assert (verdicts(squares.data)[1] >= 0).all()
    assert '0 episodes graded for 12 tasks' in run('--bags', squares.data.root, '--detector', trained)


def test_a_version_is_found_by_its_name(squares, trained):
    squares.collect(2, seed=1)
    with pytest.raises(CheckpointError, match=f'no detector {trained.name}'):
        run('--bags', squares.data.root, '--detector', trained.name)
    shutil.copytree(trained, squares.data.root / 'models' / 'success_detector' / trained.name)
    assert trained.name in run('--bags', squares.data.root, '--detector', trained.name)
    with pytest.raises(UnknownTaskError, match='fold-cloth'):
        run('--bags', squares.data.root, '--detector', trained.name, '--tasks', 'fold-cloth')


SLOW = """
import sys
from mtopt_success_detector import relabelling
from mtopt_core.cli import main

relabelling.BATCH, relabelling.BATCHES_PER_COMMIT = 4, 1
main()
"""


def test_one_that_is_killed_goes_on_and_ends_as_one_that_was_not(squares, trained):
    squares.collect(400, seed=1)
    command = [sys.executable, '-c', SLOW, 'relabel', '--bags', str(squares.data.root), '--detector', str(trained)]
    process = subprocess.Popen(command)
    while not len(verdicts(squares.data)[0]):
        assert process.poll() is None, 'it ended before it could be killed'
        time.sleep(0.01)
    process.kill()
    process.wait()
    ids, killed = verdicts(squares.data)
    assert 0 < len(ids) < 400
    assert (killed >= 0).all(), 'an episode is stored for all tasks or for none'
    assert f'{len(ids)} were graded by it before' in run('--bags', squares.data.root, '--detector', trained)
    resumed = verdicts(squares.data)
    for file in squares.data.root.glob('labels.sqlite*'):
        file.unlink()
    run('--bags', squares.data.root, '--detector', trained)
    assert resumed[0] == verdicts(squares.data)[0]
    np.testing.assert_array_equal(resumed[1], verdicts(squares.data)[1])

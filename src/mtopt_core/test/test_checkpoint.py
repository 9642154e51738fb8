from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
import torch

from mtopt_core.checkpoint import (
    Manifest,
    free_version,
    load_checkpoint,
    new_version,
    newest_checkpoint,
    save_checkpoint,
)
from mtopt_core.errors import CheckpointError

WEIGHTS = {'head.weight': torch.arange(12.0).reshape(3, 4).T, 'count': torch.tensor(7)}


class Policy(Manifest):
    kind: Literal['policy'] = 'policy'
    size: int = 64


class Detector(Manifest):
    kind: Literal['success_detector'] = 'success_detector'


def _manifest(version: str = '1', **fields: object) -> Policy:
    return Policy(version=version, tasks=('lift-any',), skills=('lift',), outcome_sources=('human',), **fields)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, _manifest(size=128))
    weights, manifest = load_checkpoint(path, Policy)
    assert path == tmp_path / '1'
    assert weights.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert torch.equal(weights[name], tensor)
    assert manifest.size == 128
    assert manifest.outcome_sources == ('human',)
    assert len(manifest.sha256) == 64
    assert [entry.name for entry in tmp_path.iterdir()] == ['1']


def test_versions_made_later_sort_behind() -> None:
    before = f'{datetime.now(UTC):%Y%m%dT%H%M%S}_000999'
    assert before <= new_version(999) <= f'{datetime.now(UTC):%Y%m%dT%H%M%S}_000999'
    assert '20261123T101500_000400' < '20261123T101500_001200' < '20261123T101501_000001' < '20270101T000000_000001'


def test_a_version_sorts_behind_those_there_are_although_the_clock_was_set_back(tmp_path: Path) -> None:
    policies, states = tmp_path / 'policy', tmp_path / 'trainer'
    assert free_version(7, policies, states)[:15] <= f'{datetime.now(UTC):%Y%m%dT%H%M%S}'
    save_checkpoint(policies, WEIGHTS, _manifest('29991231T235958_000900'))
    save_checkpoint(states, WEIGHTS, _manifest('29991231T235959_000400'))
    assert free_version(7, policies) == '29991231T235959_000007'
    assert free_version(7, policies, states) == '30000101T000000_000007'


@pytest.mark.parametrize('version', ['', '../up', '.hidden', 'a b'])
def test_a_version_names_a_folder(version: str) -> None:
    with pytest.raises(ValueError, match='version'):
        _manifest(version)


def test_a_version_is_saved_once(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, WEIGHTS, _manifest())
    with pytest.raises(CheckpointError, match='exists'):
        save_checkpoint(tmp_path, {}, _manifest())


def test_the_newest_complete_checkpoint_is_found(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / 'absent') is None
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / '.29991231T000000_000001.x.partial').mkdir()
    (tmp_path / '.29991231T000000_000001.x.partial' / 'manifest.json').write_text('{}')
    (tmp_path / 'notes').mkdir()
    assert newest_checkpoint(tmp_path) is None
    for version in ('20260101T000000_000002', '20260101T000000_000010', '20251231T000000_000099'):
        save_checkpoint(tmp_path, WEIGHTS, _manifest(version))
    assert newest_checkpoint(tmp_path) == tmp_path / '20260101T000000_000010'


def test_another_kind_of_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, Detector(version='1', tasks=(), skills=()))
    with pytest.raises(CheckpointError, match="is not a Policy: kind: Input should be 'policy'"):
        load_checkpoint(path, Policy)


def test_a_changed_byte_or_a_cut_anywhere_is_found(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, _manifest())
    file = path / 'weights.safetensors'
    data = file.read_bytes()
    for place in range(0, len(data), 11):
        for spoiled in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            file.write_bytes(spoiled)
            with pytest.raises(CheckpointError, match='sha256'):
                load_checkpoint(path, Policy)


def test_a_cut_manifest_is_found_anywhere(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, _manifest())
    file = path / 'manifest.json'
    data = file.read_bytes().rstrip()
    for place in range(0, len(data), 7):
        file.write_bytes(data[:place])
        with pytest.raises(CheckpointError, match=r'manifest\.json is not a Policy'):
            load_checkpoint(path, Policy)


def test_weights_that_are_no_safetensors_are_refused_even_with_a_matching_digest(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, _manifest())
    data = pickle.dumps({'a': 1})
    (path / 'weights.safetensors').write_bytes(data)
    fields = json.loads((path / 'manifest.json').read_text()) | {'sha256': hashlib.sha256(data).hexdigest()}
    (path / 'manifest.json').write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match='no safetensors'):
        load_checkpoint(path, Policy)


@pytest.mark.parametrize('missing', ['weights.safetensors', 'manifest.json'])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, _manifest())
    (path / missing).unlink()
    with pytest.raises(CheckpointError, match=missing):
        load_checkpoint(path, Policy)


TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
sys.path[:] = {path!r}
import torch
from mtopt_core.checkpoint import Manifest, save_checkpoint
from mtopt_core.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    save_checkpoint(
        Path({folder!r}), {{'a': torch.zeros(10_000)}}, Manifest(kind='policy', version='2', tasks=(), skills=())
    )
except CheckpointError as error:
    print(error)
"""


def test_a_write_the_system_refuses_leaves_the_checkpoints_before_unharmed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, WEIGHTS, _manifest())
    code = TOO_LARGE.format(path=sys.path, folder=str(tmp_path))
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert 'cannot be saved: File too large' in done.stdout
    assert list(tmp_path.iterdir()) == [path]
    load_checkpoint(path, Policy)

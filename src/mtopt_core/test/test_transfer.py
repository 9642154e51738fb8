"""Bags reach the trainer's machine whole or not at all, and stay where they are until they have."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from small_disk import small_disk

from mtopt_core import carriers, transfer
from mtopt_core.carriers import FolderCarrier, RsyncCarrier, TransferError
from mtopt_core.checkpoint import Manifest, load_checkpoint, save_checkpoint
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Outcome, Step, Verdict
from mtopt_core.episode_bag import episode_ids, read_episode, write_episode
from mtopt_core.errors import LabelError
from mtopt_core.images import encode_jpeg
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.transfer import Receiver, Sender
from mtopt_core.transfer_commands import _repeat

JPEG = encode_jpeg(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8), 95)


def record(data: DataFolder, number: int) -> str:
    name = f'20260101T0000{number:02d}_robot1_{number:08x}'
    seen = [Observation(t, {'main': JPEG}, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1) for t in (1, 2)]
    info = EpisodeInfo(name, 'robot1', 'lift-any', 'lift', 'scripted')
    write_episode(data.bags, Episode(info, (Step(seen[0], Action()),), seen[1]), CellConfiguration(), [])
    store = LabelStore(data)
    store.add(name, DETECTOR, 'v7', [Outcome('lift-any', Verdict.SUCCESS, 0.9)])
    store.close()
    return name


@pytest.fixture(params=['folder', 'rsync'])
def carrier(request, tmp_path) -> Iterator[FolderCarrier | RsyncCarrier]:
    """A way to the mailbox `tmp_path/mailbox`."""
    mailbox = tmp_path / 'mailbox'
    mailbox.mkdir()
    if request.param == 'folder':
        yield FolderCarrier(mailbox)
        return
    if shutil.which('rsync') is None:
        pytest.skip('rsync is missing: apt-get install rsync')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    file = tmp_path / 'rsyncd.conf'
    file.write_text(f'use chroot = no\n[mailbox]\npath = {mailbox}\nread only = no\nuid = root\ngid = root\n')
    # Without an address it would let in whoever reaches this machine.
    here = ('--address=127.0.0.1', f'--port={port}')
    daemon = subprocess.Popen(['rsync', '--daemon', '--no-detach', f'--config={file}', *here])
    try:
        deadline = time.monotonic() + 10
        while not answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield RsyncCarrier(f'rsync://127.0.0.1:{port}/mailbox')
    finally:
        daemon.terminate()
        daemon.wait(10)


def answers(port: int) -> bool:
    """Return whether somebody listens on a port of this machine."""
    with socket.socket() as asking:
        return asking.connect_ex(('127.0.0.1', port)) == 0


class Ends:
    """A robot and a trainer's machine."""

    def __init__(self, folder: Path, carrier: FolderCarrier | RsyncCarrier) -> None:
        self.robot, self.trainer = DataFolder(folder / 'robot'), DataFolder(folder / 'trainer')
        self.mailbox = folder / 'mailbox'
        self.sender = Sender(self.robot, carrier)
        self.receiver = Receiver(self.trainer, self.mailbox)

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()


@pytest.fixture
def ends(tmp_path, carrier) -> Iterator[Ends]:
    ends = Ends(tmp_path, carrier)
    yield ends
    ends.close()


def test_a_bag_arrives_with_its_grading_is_acknowledged_and_only_then_may_go(ends):
    names = [record(ends.robot, number) for number in range(3)]
    sent = ends.sender.round()
    assert (sent.bags, sent.pushed, sent.acknowledged) == (3, 3, 0)
    assert ends.sender.free(0.0) == 0
    assert episode_ids(ends.robot.bags) == names

    assert ends.receiver.round().taken == 3
    assert [read_episode(ends.trainer.bags / name).info.episode_id for name in names] == names
    store = LabelStore(ends.trainer)
    assert store.gradings(names[0], [DETECTOR]) == {(DETECTOR, 'v7'): [Outcome('lift-any', Verdict.SUCCESS, 0.9)]}
    store.close()

    sent = ends.sender.round()
    assert (sent.pushed, sent.acknowledged) == (0, 3)
    assert ends.sender.free(3600.0) == 0, 'none is that old'
    assert ends.sender.free(0.0) == 3
    assert episode_ids(ends.robot.bags) == []
    assert not list((ends.mailbox / 'incoming').iterdir())


def test_a_backlog_goes_in_rounds_the_oldest_bags_first(ends, monkeypatch):
    monkeypatch.setattr(transfer, 'BATCH', 2)
    names = [record(ends.robot, number) for number in range(3)]
    sent = ends.sender.round()
    assert (sent.pushed, sent.left) == (2, 1)
    assert ends.receiver.round().taken == 2
    assert episode_ids(ends.trainer.bags) == names[:2]
    sent = ends.sender.round()
    assert (sent.pushed, sent.left, sent.acknowledged) == (1, 0, 2)
    assert ends.receiver.round().taken == 1


def test_a_file_damaged_on_the_way_is_found_and_sent_again(ends):
    name = record(ends.robot, 1)
    ends.sender.round()
    bag = next((ends.mailbox / 'incoming' / name).glob('*.mcap'))
    bag.write_bytes(bag.read_bytes()[:-100] + b'x' * 100)
    received = ends.receiver.round()
    assert (received.taken, received.damaged) == (0, 1)
    assert not (ends.trainer.bags / name).exists()
    ends.sender.round()
    assert ends.receiver.round().taken == 1
    assert ends.sender.round().acknowledged == 1


def test_half_a_bag_is_not_taken_for_one(ends):
    name = record(ends.robot, 1)
    bag = ends.robot.bags / name
    file = next(bag.glob('*.mcap'))
    ends.sender._carrier.push({f'incoming/{name}/{file.name}': file})
    assert ends.receiver.round().taken == 0
    assert episode_ids(ends.trainer.bags) == []


def test_an_episode_waits_a_moment_for_its_grading_but_not_for_ever(ends):
    name = record(ends.robot, 1)
    store = LabelStore(ends.robot)
    with store._database.writing() as database:
        database.execute('DELETE FROM outcomes')
    store.close()
    assert ends.sender.round().waiting == 1
    old = time.time() - 2 * transfer.PATIENCE
    os.utime(ends.robot.bags / name, (old, old))
    assert ends.sender.round().pushed == 1


def test_what_a_robot_sends_cannot_reach_outside_its_folder(ends):
    name = record(ends.robot, 1)
    ends.sender.round()
    manifest = ends.mailbox / 'incoming' / name / 'transfer.json'
    told = json.loads(manifest.read_text())
    told['files']['../../../secret'] = 'x'
    manifest.write_text(json.dumps(told))
    (ends.mailbox / 'secret').write_text('keep me')
    assert ends.receiver.round().taken == 0
    assert (ends.mailbox / 'secret').exists()


def checkpoint(folder: Path, version: str) -> Path:
    manifest = Manifest(kind='policy', version=version, tasks=('a',), skills=('b',))
    return save_checkpoint(folder, {'w': torch.rand(64)}, manifest)


def test_weights_come_back_whole_and_damaged_ones_do_not(ends, tmp_path):
    checkpoint(tmp_path / 'made' / 'policy', 'v1')
    assert [path.name for path in ends.receiver.offer_models(tmp_path / 'made')] == ['v1']
    models = tmp_path / 'models'
    assert [path.name for path in ends.sender.fetch_models(models)] == ['v1']
    assert load_checkpoint(models / 'policy' / 'v1', Manifest)[0]['w'].shape == (64,)
    assert ends.sender.fetch_models(models) == []

    checkpoint(tmp_path / 'made' / 'policy', 'v2')
    ends.receiver.offer_models(tmp_path / 'made')
    weights = ends.mailbox / 'models' / 'policy' / 'v2' / 'weights.safetensors'
    weights.write_bytes(weights.read_bytes()[:-4])
    assert ends.sender.fetch_models(models) == []
    assert not (models / 'policy' / 'v2').exists()


def test_of_fetched_weights_some_are_kept_and_what_was_trained_here_is(ends, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, 'FETCHED_KEPT', 2)
    made, models = tmp_path / 'made', tmp_path / 'models'
    own = checkpoint(models / 'policy', '20250101T000000_000001')
    for step in range(4):
        checkpoint(made / 'policy', f'20260101T000000_{step:06}')
        ends.receiver.offer_models(made)
        ends.sender.fetch_models(models)
    left = [f'20260101T000000_{step:06}' for step in (2, 3)]
    assert sorted(path.name for path in (models / 'policy').iterdir()) == [own.name, *left]
    shutil.rmtree(models / 'policy' / left[0])
    assert ends.sender.fetch_models(models) == []
    assert len(list((models / '.arriving' / 'policy').iterdir())) == 1


def test_sending_goes_on_once_there_is_room_on_the_robot(tmp_path):
    (tmp_path / 'mailbox').mkdir()
    with small_disk(tmp_path / 'robot', '2m') as disk:
        ends = Ends(tmp_path, FolderCarrier(tmp_path / 'mailbox'))
        record(ends.robot, 1)
        filler = disk / 'filler'
        with filler.open('wb', buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        with pytest.raises(TransferError, match='No space left'):
            ends.sender.round()
        filler.unlink()
        assert ends.sender.round().pushed == 1
        ends.close()


def test_a_command_that_follows_outlives_whatever_is_the_matter_for_a_moment(capsys):
    troubles = iter(
        [LabelError('held by another process'), OSError(28, 'No space left on device'), KeyboardInterrupt()]
    )

    def once():
        raise next(troubles)

    before = signal.getsignal(signal.SIGTERM)
    try:
        _repeat(once, follow=True, period=0.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    told = capsys.readouterr().out
    assert 'held by another process; trying again' in told
    assert 'No space left on device; trying again' in told


def test_a_share_that_is_not_mounted_is_not_filled(tmp_path):
    data = DataFolder(tmp_path / 'robot')
    record(data, 1)
    sender = Sender(data, FolderCarrier(tmp_path / 'missing'))
    with pytest.raises(TransferError, match='missing is not there'):
        sender.round()
    sender.close()
    assert not (tmp_path / 'missing').exists()


def test_copying_goes_on_where_it_stopped_and_begins_anew_where_the_beginning_differs(tmp_path):
    source, target = tmp_path / 'source', tmp_path / 'target'
    source.write_bytes(bytes(range(256)) * 20_000)
    for begun in (source.read_bytes()[:2_000_001], b'something else' * 200_000):
        (tmp_path / '.target.partial').write_bytes(begun)
        carriers._copy(source, target)
        assert target.read_bytes() == source.read_bytes()
        target.unlink()


def test_the_commands_follow_each_other_and_end_by_ctrl_c(tmp_path):
    data = DataFolder(tmp_path / 'robot')
    (tmp_path / 'mailbox').mkdir()
    name = record(data, 1)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, '-m', 'mtopt_core.cli', 'transfer', *arguments, '--follow', '--period', '0.2']
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    mailbox = str(tmp_path / 'mailbox')
    both = [
        start('receive', '--data', str(tmp_path / 'trainer'), '--mailbox', mailbox),
        start('send', '--data', str(data.root), '--to', mailbox),
    ]
    deadline = time.monotonic() + 60
    while not (data.root / 'acknowledged' / name).exists():
        assert time.monotonic() < deadline, [process.poll() for process in both]
        time.sleep(0.1)
    for process in both:
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 0, told
    assert episode_ids(tmp_path / 'trainer' / 'bags') == [name]

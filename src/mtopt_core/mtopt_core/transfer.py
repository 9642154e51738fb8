"""Brings finished bags from a robot to a trainer's machine, and trained weights back.

Between the two lies a mailbox, a folder of the trainer's machine that the robot reaches as a shared folder or by rsync:

    incoming/<episode>/     a bag, file by file; what is in it and how it was graded in `transfer.json`, sent last
    acknowledged/<episode>  written by the receiver once the bag is checked, synced and in its data folder
    models/<kind>/          the newest checkpoint of each kind

A bag that is not acknowledged is sent again, and stays on the robot whatever happens. What was sent of it is not sent
twice: whole files are known by their SHA-256, rsync goes on in the middle of one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mtopt_core.carriers import Carrier, TransferError, sha256
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.episode_bag import episode_ids
from mtopt_core.label_store import DETECTOR, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_core.rosbag2_directory import sync_folder

MANIFEST = 'transfer.json'
INCOMING, ACKNOWLEDGED, MODELS = 'incoming', 'acknowledged', 'models'
PATIENCE = 60.0
"""s after its end for which an episode may wait for its grading before it is sent without."""
FETCHED_KEPT = 20
"""Fetched checkpoints of a kind that are kept; a trainer exports one every minute."""
_FETCHED = '.fetched'
"""Marks a checkpoint that was fetched, and may be removed again: others are nobody's copy."""
BATCH = 50
"""Bags of one round: a start of rsync costs some round trips, and between two rounds weights are fetched."""


class SentOutcome(BaseModel):
    """An outcome, fields as in `mtopt_core.episode.Outcome`."""

    model_config = ConfigDict(extra='forbid', frozen=True)
    task: str
    verdict: Verdict
    probability: float


class SentGrading(BaseModel):
    """A grading by a detector or a simulator; people's labels travel in the journal."""

    model_config = ConfigDict(extra='forbid', frozen=True)
    source: str
    model_version: str
    outcomes: tuple[SentOutcome, ...]


class BagManifest(BaseModel):
    """What is sent of an episode.

    Attributes:
        files: SHA-256 of each file of the bag, by name.
        gradings: How it was graded.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    files: dict[str, str]
    gradings: tuple[SentGrading, ...] = ()


@dataclass(frozen=True)
class Sent:
    """How far sending is.

    Attributes:
        bags: Complete bags here.
        acknowledged: Those the other side has, checked.
        pushed: Sent in this round.
        left: For the next round, which may follow at once.
        waiting: Not yet graded, for a moment.
    """

    bags: int
    acknowledged: int
    pushed: int
    left: int
    waiting: int


class Sender:
    """The robot's side.

    Args:
        data: Where its bags are.
        carrier: The way to the mailbox.
    """

    def __init__(self, data: DataFolder, carrier: Carrier) -> None:
        self._data, self._carrier = data, carrier
        self._labels = LabelStore(data)
        self._outbox = data.root / 'outbox'
        self._receipts = data.root / 'acknowledged'

    def close(self) -> None:
        """Close the label store."""
        self._labels.close()

    @property
    def acknowledged(self) -> set[str]:
        """Episodes the other side has."""
        return {path.name for path in self._receipts.glob('[!.]*') if path.is_file()}

    def round(self, report: Report = silent) -> Sent:
        """Send the oldest bags that are not acknowledged yet, `BATCH` at most, then fetch receipts.

        Raises:
            TransferError: The way is blocked, or the disk here is full; what is left goes with the next round.
            LabelError: The label store is damaged, or held by another process.
        """
        try:
            return self._round(report)
        except OSError as error:
            raise TransferError(f'{error.filename or self._data.root}: {error.strerror}') from None

    def _round(self, report: Report) -> Sent:
        self._carrier.pull(ACKNOWLEDGED, self._receipts)
        names, known = episode_ids(self._data.bags), self.acknowledged
        gradings = {name: self._gradings(name) for name in names if name not in known}
        # A bag that is gone was set aside meanwhile: it cannot be read.
        there = {name: graded for name, graded in gradings.items() if (self._data.bags / name).exists()}
        ready = [name for name, graded in there.items() if graded or self._age(name) > PATIENCE]
        batch = ready[:BATCH]
        report(len(names) - len(gradings), len(names))
        if batch:
            self._push({name: gradings[name] for name in batch})
            self._carrier.pull(ACKNOWLEDGED, self._receipts)
        acknowledged = len(self.acknowledged & set(names))
        report(acknowledged, len(names))
        return Sent(len(names), acknowledged, len(batch), len(ready) - len(batch), len(there) - len(ready))

    def _age(self, name: str) -> float:
        return time.time() - (self._data.bags / name).stat().st_mtime

    def free(self, older_than: float) -> int:
        """Delete acknowledged bags that are older than some seconds; return how many."""
        freed = 0
        for name in self.acknowledged & set(episode_ids(self._data.bags)):
            if self._age(name) > older_than:
                shutil.rmtree(self._data.bags / name)
                freed += 1
        return freed

    def _push(self, batch: Mapping[str, tuple[SentGrading, ...]]) -> None:
        """Send bags with their gradings; the manifests go when all files are there."""
        files: dict[str, Path] = {}
        manifests: dict[str, Path] = {}
        for name, gradings in batch.items():
            bag = {path.name: path for path in sorted((self._data.bags / name).iterdir()) if path.is_file()}
            files |= {f'{INCOMING}/{name}/{file}': path for file, path in bag.items()}
            manifest = manifests[f'{INCOMING}/{name}/{MANIFEST}'] = self._outbox / name / MANIFEST
            manifest.parent.mkdir(parents=True, exist_ok=True)
            digests = {file: sha256(path) for file, path in bag.items()}
            manifest.write_text(BagManifest(files=digests, gradings=gradings).model_dump_json())
        self._carrier.push(files)
        self._carrier.push(manifests)
        shutil.rmtree(self._outbox)

    def _gradings(self, name: str) -> tuple[SentGrading, ...]:
        return tuple(
            SentGrading(
                source=source,
                model_version=version,
                outcomes=tuple(
                    SentOutcome(task=one.task, verdict=one.verdict, probability=one.probability) for one in outcomes
                ),
            )
            for (source, version), outcomes in self._labels.gradings(name, (DETECTOR, SIMULATOR)).items()
        )

    def fetch_models(self, models: Path) -> list[Path]:
        """Bring the newest checkpoints here, each in place at once and only when it is whole; return the new ones.

        Raises:
            TransferError: The way is blocked.
        """
        arriving = models / '.arriving'
        self._carrier.pull(MODELS, arriving)
        fetched = []
        for manifest in sorted(arriving.glob('[!.]*/[!.]*/manifest.json')):
            checkpoint = manifest.parent
            target = models / checkpoint.parent.name / checkpoint.name
            if target.exists():
                continue
            if not _whole(checkpoint):
                shutil.rmtree(checkpoint)  # damaged on the way or at the other end: it comes anew
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f'.{target.name}.partial')
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(checkpoint, temporary)
            _sync_all(temporary)
            (temporary / _FETCHED).touch()
            temporary.rename(target)
            sync_folder(target.parent)
            fetched.append(target)
        for folder in arriving.glob('[!.]*'):
            # The mailbox has one of each kind, what came last; without that it would come again.
            _remove(sorted(folder.glob('[!.]*'), key=lambda path: path.stat().st_ctime_ns)[:-1])
            _remove(sorted(path.parent for path in (models / folder.name).glob(f'[!.]*/{_FETCHED}'))[:-FETCHED_KEPT])
        return fetched


@dataclass(frozen=True)
class Received:
    """What a round of receiving found.

    Attributes:
        taken: Bags checked and taken into the data folder.
        damaged: Files that were not what was sent; they are sent again.
    """

    taken: int
    damaged: int


class Receiver:
    """The trainer's side.

    Args:
        data: Where bags go.
        mailbox: The folder that robots send to.
    """

    def __init__(self, data: DataFolder, mailbox: Path) -> None:
        self._data, self._mailbox = data, mailbox
        self._labels = LabelStore(data)
        for name in (INCOMING, ACKNOWLEDGED, MODELS):
            (mailbox / name).mkdir(parents=True, exist_ok=True)
        data.bags.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Close the label store."""
        self._labels.close()

    def round(self) -> Received:
        """Take in what has arrived completely, and acknowledge it.

        Raises:
            TransferError: The disk is full or fails.
        """
        taken = damaged = 0
        try:
            for manifest in sorted(self._mailbox.glob(f'{INCOMING}/[!.]*/{MANIFEST}')):
                bad = self._take(manifest)
                damaged += bad
                taken += not bad
        except OSError as error:
            raise TransferError(f'mailbox {self._mailbox}: {error.strerror}; make room in {self._data.root}') from None
        return Received(taken, damaged)

    def _take(self, path: Path) -> int:
        """Take one bag in; return how many of its files are damaged."""
        folder, name = path.parent, path.parent.name
        try:
            manifest = BagManifest.model_validate_json(path.read_bytes())
        except ValidationError:
            path.unlink()
            return 1
        bad = [file for file, digest in manifest.files.items() if not _is(folder, file, digest)]
        if bad:
            # Without its manifest the bag is not looked at again before it was sent again.
            for file in (*bad, MANIFEST):
                with suppress(FileNotFoundError):
                    (folder / Path(file).name).unlink()
            return len(bad)
        target = self._data.bags / name
        if not target.exists():
            temporary = self._data.bags / f'.{name}.arriving'
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for file in manifest.files:
                shutil.copyfile(folder / file, temporary / file)
            _sync_all(temporary)
            temporary.rename(target)
            sync_folder(self._data.bags)
        for grading in manifest.gradings:
            outcomes = [Outcome(one.task, one.verdict, one.probability) for one in grading.outcomes]
            self._labels.add(name, grading.source, grading.model_version, outcomes)
        receipt = self._mailbox / ACKNOWLEDGED / name
        receipt.write_text(json.dumps(manifest.files))
        sync_folder(receipt.parent)
        shutil.rmtree(folder)
        return 0

    def offer_models(self, models: Path) -> list[Path]:
        """Put the newest checkpoint of each kind into the mailbox, in place of the one before; return the new ones.

        Raises:
            TransferError: The disk is full or fails.
        """
        offered = []
        try:
            for kind in ('policy', 'success_detector'):
                newest = max((path.parent for path in models.glob(f'{kind}/[!.]*/manifest.json')), default=None)
                place = self._mailbox / MODELS / kind
                if newest is None or (place / newest.name).exists():
                    continue
                place.mkdir(parents=True, exist_ok=True)
                temporary = place / f'.{newest.name}.partial'
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.copytree(newest, temporary)
                temporary.rename(place / newest.name)
                for old in place.glob('[!.]*'):
                    if old.name != newest.name:
                        shutil.rmtree(old)
                offered.append(place / newest.name)
        except OSError as error:
            raise TransferError(f'mailbox {self._mailbox}: {error.strerror}; make room') from None
        return offered


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _is(folder: Path, name: str, digest: str) -> bool:
    """Return whether a file is what was sent; a name that leads elsewhere never is."""
    path = folder / name
    return Path(name).name == name and path.is_file() and sha256(path) == digest


def _whole(checkpoint: Path) -> bool:
    try:
        manifest = json.loads((checkpoint / 'manifest.json').read_bytes())
        return manifest['sha256'] == sha256(checkpoint / 'weights.safetensors')
    except (OSError, ValueError, KeyError):
        return False


def _sync_all(folder: Path) -> None:
    for path in folder.rglob('*'):
        if path.is_file():
            with path.open('rb') as file:
                os.fsync(file.fileno())
    sync_folder(folder)

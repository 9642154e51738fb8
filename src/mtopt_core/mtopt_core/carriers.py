"""Ways to a mailbox, a folder of another machine: as a shared folder of this one, or by rsync."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mtopt_core.errors import MtoptError

RSYNC_TIMEOUT = 15
"""s of silence after which rsync gives a link up."""
CHUNK = 1 << 20


class TransferError(MtoptError):
    """Nothing can be transferred at present; a bag that was not acknowledged is sent again later."""


class Carrier(Protocol):
    """A way to a mailbox. Every method raises `TransferError` when the way is blocked."""

    def push(self, files: Mapping[str, Path]) -> None:
        """Bring files to their places in the mailbox, with the folders these need; those there already stay."""

    def pull(self, place: str, folder: Path) -> None:
        """Bring a folder of the mailbox, whole, to a folder here; where it does not exist nothing happens."""


class FolderCarrier:
    """The mailbox is a folder of this machine, on a network file system perhaps.

    Args:
        mailbox: The folder; it must exist, for a share that is not mounted must not be filled as if it were.
    """

    def __init__(self, mailbox: Path) -> None:
        self._mailbox = mailbox

    def push(self, files: Mapping[str, Path]) -> None:
        """See `Carrier.push`."""
        try:
            self._check()
            for place, file in files.items():
                target = self._mailbox / place
                target.parent.mkdir(parents=True, exist_ok=True)
                if not (target.exists() and sha256(target) == sha256(file)):
                    _copy(file, target)
        except OSError as error:
            raise self._error(error) from None

    def pull(self, place: str, folder: Path) -> None:
        """See `Carrier.pull`."""
        source = self._mailbox / place
        try:
            self._check()
            for path in sorted(source.rglob('*')) if source.is_dir() else ():
                target = folder / path.relative_to(source)
                if path.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _copy(path, target)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> TransferError:
        return TransferError(f'mailbox {self._mailbox}: {error.strerror}; is it mounted, and is there room?')

    def _check(self) -> None:
        if not self._mailbox.is_dir():
            raise TransferError(f'mailbox {self._mailbox} is not there; mount the share, or make the folder')


class RsyncCarrier:
    """The mailbox is reached by rsync, over ssh (`host:/folder`) or by its daemon (`rsync://host/module`).

    Args:
        mailbox: As rsync names it.
    """

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox.rstrip('/')
        if shutil.which('rsync') is None:
            raise TransferError('rsync is missing: `apt-get install rsync`, or use a shared folder')

    def push(self, files: Mapping[str, Path]) -> None:
        """See `Carrier.push`."""
        with _staged(files) as stage:
            self._run(f'{stage}/', f'{self._mailbox}/')

    def pull(self, place: str, folder: Path) -> None:
        """See `Carrier.pull`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._run('--ignore-missing-args', f'{self._mailbox}/{place}/', f'{folder}/')

    def _run(self, *arguments: str) -> None:
        # Every file is checked as a whole once it is there; a part that came before a link broke is gone on from.
        options = '-rt', '--checksum', '--partial-dir=.rsync-partial', f'--timeout={RSYNC_TIMEOUT}'
        try:
            ended = subprocess.run(
                ['rsync', *options, *arguments], capture_output=True, text=True, timeout=3600, check=False
            )
        except subprocess.TimeoutExpired:
            raise TransferError(f'mailbox {self._mailbox}: rsync does not get on') from None
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f'rsync ended with status {ended.returncode}']
            raise TransferError(f'mailbox {self._mailbox}: {said[0]}')


@contextmanager
def _staged(files: Mapping[str, Path]) -> Iterator[Path]:
    """Yield a folder that holds links to some files at the places they shall have at the other end."""
    stage = next(iter(files.values())).parent.with_name('.outgoing')
    shutil.rmtree(stage, ignore_errors=True)
    try:
        for place, file in files.items():
            (stage / place).parent.mkdir(parents=True, exist_ok=True)
            os.link(file, stage / place)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def carrier_to(mailbox: str) -> Carrier:
    """Return the way to a mailbox: rsync where its name has a colon, else a folder."""
    return RsyncCarrier(mailbox) if ':' in mailbox else FolderCarrier(Path(mailbox))


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Copy a file; it appears under its name once it is whole, and goes on where an earlier try stopped."""
    partial = target.with_name(f'.{target.name}.partial')
    with source.open('rb') as read, partial.open('ab') as write:
        done = write.tell()
        with partial.open('rb') as before:
            while chunk := before.read(CHUNK):
                if chunk != read.read(len(chunk)):
                    # Not the beginning of this file.
                    write.truncate(0)
                    read.seek(0)
                    done = 0
                    break
        read.seek(done)
        shutil.copyfileobj(read, write, CHUNK)
        write.flush()
        os.fsync(write.fileno())
    partial.rename(target)

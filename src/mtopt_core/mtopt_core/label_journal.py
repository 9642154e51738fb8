"""The journal of human labels, the costliest data: JSON lines, appended and synced before anything else happens."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.rosbag2_directory import sync_folder


@dataclass(frozen=True)
class Grading:
    """What one source said about one episode.

    Attributes:
        episode_id: The episode.
        outcomes: One per task graded.
        who: Name of the person, empty for others.
        stamp: When, ns since 1970.
    """

    episode_id: str
    outcomes: Sequence[Outcome]
    who: str
    stamp: int

    def to_line(self) -> bytes:
        """Return the labels as one line of JSON."""
        outcomes = [
            {'task': outcome.task, 'verdict': outcome.verdict.name.lower(), 'probability': outcome.probability}
            for outcome in self.outcomes
        ]
        fields = {'episode_id': self.episode_id, 'who': self.who, 'stamp': self.stamp, 'outcomes': outcomes}
        return json.dumps(fields).encode() + b'\n'

    @classmethod
    def from_line(cls, line: bytes) -> Grading:
        """Return the labels of one line.

        Raises:
            ValueError: The line is torn or not of this journal.
        """
        try:
            fields = json.loads(line)
            outcomes = [
                Outcome(outcome['task'], Verdict[outcome['verdict'].upper()], float(outcome['probability']))
                for outcome in fields['outcomes']
            ]
            return cls(fields['episode_id'], outcomes, fields['who'], fields['stamp'])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'not a line of labels: {error!r}') from None


class LabelJournal:
    """The journal's file, shared by any number of processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the journal against every other process, so that store and journal change together.

        Yields:
            The file's descriptor.

        Raises:
            LabelError: The journal cannot be opened.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise LabelError(f'label journal {self._path} cannot be opened: {error.strerror}') from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def append(self, descriptor: int, labels: Sequence[Grading]) -> None:
        """Append labels and sync them; all or none are kept.

        Args:
            descriptor: Of `locked`.
            labels: What to append.

        Raises:
            LabelError: The disk is full or fails.
        """
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b'\n'
        lines = b'\n' * torn + b''.join(label.to_line() for label in labels)
        try:
            if os.write(descriptor, lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
            if size == 0:
                sync_folder(self._path.parent)
        except OSError as error:
            os.ftruncate(descriptor, size)
            raise LabelError(f'labels were not stored in {self._path}: {error.strerror}; make room, repeat') from None

    def read(self) -> tuple[list[Grading], int]:
        """Return the labels in the order they were given, and how many torn lines were passed over."""
        labels, torn = [], 0
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    labels.append(Grading.from_line(line))
                except ValueError:
                    torn += bool(line)
        return labels, torn

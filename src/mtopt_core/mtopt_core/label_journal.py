"""The journal of human labels, the costliest data: JSON lines, appended and synced before anything else happens."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.rosbag2_directory import sync_folder

WITHDRAWN = 'withdrawn'
"""In place of a verdict: the person took the label back."""


@dataclass(frozen=True)
class HumanLabel:
    """What a person said about one task in one episode.

    Attributes:
        verdict: Failure, success or unsure.
        who: Name of the person.
        stamp: When, ns since 1970; no two labels of one episode and task have the same.
    """

    verdict: Verdict
    who: str
    stamp: int


@dataclass(frozen=True)
class Grading:
    """What one source said about one episode.

    Attributes:
        episode_id: The episode.
        outcomes: One per task graded.
        who: Name of the person, empty for others.
        stamp: When, ns since 1970.
        withdrawn: Tasks whose label was taken back.
        replaced: The label that counted until then, by task; only for a person's.
    """

    episode_id: str
    outcomes: Sequence[Outcome]
    who: str
    stamp: int
    withdrawn: Sequence[str] = ()
    replaced: Mapping[str, HumanLabel] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task something is said about."""
        return (*(outcome.task for outcome in self.outcomes), *self.withdrawn)

    def to_line(self) -> bytes:
        """Return the labels as one line of JSON."""
        said: list[dict[str, Any]] = [
            {'task': outcome.task, 'verdict': outcome.verdict.name.lower(), 'probability': outcome.probability}
            for outcome in self.outcomes
        ]
        said += [{'task': task, 'verdict': WITHDRAWN} for task in self.withdrawn]
        for one in said:
            before = self.replaced.get(one['task'])
            if before is not None:
                one['replaced'] = {
                    'verdict': before.verdict.name.lower(),
                    'who': before.who,
                    'stamp': before.stamp,
                }
        fields = {'episode_id': self.episode_id, 'who': self.who, 'stamp': self.stamp, 'outcomes': said}
        return json.dumps(fields).encode() + b'\n'

    @classmethod
    def from_line(cls, line: bytes) -> Grading:
        """Return the labels of one line.

        Raises:
            ValueError: The line is torn or not of this journal.
        """
        try:
            fields = json.loads(line)
            said = fields['outcomes']
            outcomes = [
                Outcome(one['task'], Verdict[one['verdict'].upper()], float(one['probability']))
                for one in said
                if one['verdict'] != WITHDRAWN
            ]
            withdrawn = tuple(one['task'] for one in said if one['verdict'] == WITHDRAWN)
            replaced = {
                one['task']: HumanLabel(Verdict[before['verdict'].upper()], before['who'], before['stamp'])
                for one in said
                if (before := one.get('replaced')) is not None
            }
            return cls(fields['episode_id'], outcomes, fields['who'], fields['stamp'], withdrawn, replaced)
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

    def append(self, descriptor: int, labels: Sequence[Grading]) -> int:
        """Append labels and sync them; all or none are kept.

        Args:
            descriptor: Of `locked`.
            labels: What to append.

        Returns:
            The journal's length, bytes.

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
        return size + len(lines)

    def length(self) -> int:
        """Return how long the journal is, bytes."""
        return self._path.stat().st_size if self._path.exists() else 0

    def read(self, start: int = 0) -> tuple[list[Grading], int]:
        """Return the labels in the order they were given, and how many torn lines were passed over.

        Args:
            start: Where to begin, bytes; the end of a line.
        """
        labels, torn = [], 0
        if self._path.exists():
            with self._path.open('rb') as file:
                file.seek(start)
                lines = file.read().splitlines()
            for line in lines:
                try:
                    labels.append(Grading.from_line(line))
                except ValueError:
                    torn += bool(line)
        return labels, torn

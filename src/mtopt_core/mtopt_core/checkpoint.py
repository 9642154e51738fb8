"""Checkpoints: weights as safetensors beside a manifest, written whole or not at all. No pickle is ever loaded.

<folder>/<version>/weights.safetensors
<folder>/<version>/manifest.json
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

import torch
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from mtopt_core.errors import CheckpointError
from mtopt_core.rosbag2_directory import sync_folder
from mtopt_core.tasks import TaskSet

WEIGHTS_FILE = 'weights.safetensors'
MANIFEST_FILE = 'manifest.json'


class Manifest(BaseModel):
    """What a checkpoint is. Each kind of model adds its own fields in a subclass.

    Attributes:
        kind: What the weights are for; a subclass fixes it by `Literal`.
        version: Name of the checkpoint's folder; later ones sort behind.
        created: When it was saved.
        tasks: Task names in one-hot order.
        skills: Skill of each task, same order.
        outcome_sources: Whose outcomes it was trained on.
        sha256: Hex digest of the weights' file; filled in when saving.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    kind: str
    version: str = Field(pattern=r'^[0-9A-Za-z][0-9A-Za-z_-]*$')
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    tasks: tuple[str, ...]
    skills: tuple[str, ...]
    outcome_sources: tuple[str, ...] = ()
    sha256: str = ''

    def require_fit(self, tasks: TaskSet) -> None:
        """Check that the one-hot means the same here and there.

        Raises:
            CheckpointError: Tasks or skills differ; the message lists both.
        """
        theirs = list(zip(map(tasks.current_name, self.tasks), self.skills, strict=False))
        ours = [(task.name, task.skill) for task in tasks.tasks]
        if theirs != ours:
            raise CheckpointError(
                f'{self.kind} {self.version} was trained for tasks {_listed(theirs)}, '
                f'but this cell has {_listed(ours)}; use the task file it was trained with, or train again'
            )

    def require_extended(self, tasks: TaskSet) -> None:
        """Check that a task set begins with these tasks, so that a network can grow to it.

        Raises:
            CheckpointError: Tasks or skills differ, or their order does; the message lists both.
        """
        theirs = list(zip(map(tasks.current_name, self.tasks), self.skills, strict=False))
        ours = [(task.name, task.skill) for task in tasks.tasks]
        if ours[: len(theirs)] != theirs:
            raise CheckpointError(
                f'{self.kind} {self.version} was trained for tasks {_listed(theirs)}, '
                f'which {_listed(ours)} does not extend; a task file that does begins with these tasks, in their order'
            )


def _listed(tasks: list[tuple[str, str]]) -> str:
    return ', '.join(f'{name} ({skill})' for name, skill in tasks)


_TIME = '%Y%m%dT%H%M%S'

AnyManifest = TypeVar('AnyManifest', bound=Manifest)
Model = TypeVar('Model')


def new_version(step: int) -> str:
    """Return the version of a checkpoint made now, after `step` training steps: later ones sort behind."""
    return f'{datetime.now(UTC):{_TIME}}_{step:06d}'


def free_version(step: int, *folders: Path) -> str:
    """Return a version that sorts behind every checkpoint of some folders, also after the clock was set back.

    Whatever sorts last counts as the newest: a policy that sorts before older ones would not reach the robots, and be
    the first to be removed. Where now is not late enough, the version says a second after the newest one.
    """
    version = new_version(step)
    newest = max((path.name for folder in folders if (path := newest_checkpoint(folder))), default='')
    if version > newest:
        return version
    try:
        after = datetime.strptime(newest.partition('_')[0], _TIME) + timedelta(seconds=1)
    except ValueError:
        # It was named by hand. Names tell seconds, so that a free one may take as long.
        while any((folder / version).exists() for folder in folders):
            time.sleep(0.1)
            version = new_version(step)
        return version
    return f'{after:{_TIME}}_{step:06d}'


def save_checkpoint(folder: Path, weights: Mapping[str, torch.Tensor], manifest: Manifest) -> Path:
    """Save a checkpoint as `<folder>/<version>`; it appears there once it is complete and on the disk.

    Args:
        folder: Folder of the checkpoints, made when missing.
        weights: Tensors by name.
        manifest: What they are; `sha256` is filled in.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError: The version exists, or the disk is full or fails; what was there before is unharmed.
    """
    path = folder / manifest.version
    if path.exists():
        raise CheckpointError(f'checkpoint {path} exists; a version is saved once')
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    manifest = manifest.model_copy(update={'sha256': hashlib.sha256(data).hexdigest()})
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f'.{manifest.version}.', suffix='.partial', dir=folder))
        temporary.chmod(0o755)
        _write(temporary / WEIGHTS_FILE, data)
        _write(temporary / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode() + b'\n')
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(folder)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f'checkpoint {path} cannot be saved: {error.strerror}; make room and repeat') from None
    return path


def load_checkpoint(path: Path, manifest_type: type[AnyManifest]) -> tuple[dict[str, torch.Tensor], AnyManifest]:
    """Load a checkpoint and check that it is whole and of the kind expected.

    Args:
        path: The checkpoint's folder.
        manifest_type: Manifest of the kind expected.

    Returns:
        Tensors by name, on the CPU, and the manifest.

    Raises:
        CheckpointError: A file is missing, damaged or was changed, or the checkpoint is of another kind.
    """
    manifest = load_manifest(path, manifest_type)
    try:
        data = (path / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise CheckpointError(f'checkpoint {path}: {WEIGHTS_FILE} cannot be read: {error.strerror}') from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.sha256:
        raise CheckpointError(
            f'checkpoint {path}: {WEIGHTS_FILE} has sha256 {digest}, its manifest says {manifest.sha256}; '
            'it is damaged or was replaced: take another checkpoint'
        )
    try:
        return load(data), manifest
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f'checkpoint {path}: {WEIGHTS_FILE} is no safetensors file: {error}') from None


def load_manifest(path: Path, manifest_type: type[AnyManifest]) -> AnyManifest:
    """Read a checkpoint's manifest alone.

    Raises:
        CheckpointError: It is missing, damaged or of another kind.
    """
    try:
        return manifest_type.model_validate_json((path / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise CheckpointError(f'checkpoint {path}: {MANIFEST_FILE} cannot be read: {error.strerror}') from None
    except ValidationError as error:
        faults = '; '.join(f'{".".join(map(str, fault["loc"])) or "file"}: {fault["msg"]}' for fault in error.errors())
        raise CheckpointError(
            f'checkpoint {path}: {MANIFEST_FILE} is not a {manifest_type.__name__}: {faults}'
        ) from None


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the complete checkpoint of the latest version in a folder, None where there is none."""
    return max((manifest.parent for manifest in folder.glob(f'[!.]*/{MANIFEST_FILE}')), default=None)


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint a person names: its own folder, or a folder of checkpoints, which means the newest.

    Raises:
        CheckpointError: There is none.
    """
    found = path if (path / MANIFEST_FILE).exists() else newest_checkpoint(path)
    if found is None:
        raise CheckpointError(f'{path} is no checkpoint and holds none; train one first')
    return found


class CheckpointWatch(Generic[Model]):
    """Keeps the model of the newest checkpoint of a folder that could be loaded.

    Args:
        folder: Folder of the checkpoints; need not exist yet.
        load: Loads one.

    Attributes:
        current: That model, None before there is one.
    """

    def __init__(self, folder: Path, load: Callable[[Path], Model]) -> None:
        self._folder = folder
        self._load = load
        self._seen: Path | None = None
        self._loading = threading.Lock()
        self.current: Model | None = None

    def refresh(self) -> Model | None:
        """Load the newest checkpoint unless that was tried before; return the model if it is a new one.

        Raises:
            CheckpointError: It is damaged or does not fit; the model there was stays.
        """
        with self._loading:
            newest = newest_checkpoint(self._folder)
            if newest is None or newest == self._seen:
                return None
            self._seen = newest
            self.current = self._load(newest)
            return self.current


def _write(path: Path, data: bytes) -> None:
    with path.open('xb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

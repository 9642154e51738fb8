"""What a training leaves behind: policies for those who act, and the trainer's state for going on later.

<out>/policy/<version>/      the averaged weights, as the policy node loads them
<out>/trainer/<version>/     everything needed to go on: all weights and the optimiser's state
<out>/tensorboard/           curves
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from mtopt_core.checkpoint import Manifest, free_version, load_checkpoint, newest_checkpoint, save_checkpoint
from mtopt_core.errors import CheckpointError
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.learner.configuration import TrainerConfiguration
from mtopt_policy.learner.trainer import TrainingError
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetworkConfiguration

STATES_KEPT = 2
"""The last one, and the one before it in case that one turns out damaged."""


class TrainerManifest(Manifest):
    """Manifest of a trainer's state.

    Attributes:
        step: Gradient steps made.
        network: Which network it trains.
        action_space: What its actions mean.
        configuration: How it was trained last.
        started_from: Version of the policy it started from, empty for none.
        store: Identity of the episode store that its labelled transitions are rows of.
    """

    kind: Literal['trainer'] = 'trainer'
    step: int
    network: QNetworkConfiguration
    action_space: ActionSpace
    configuration: TrainerConfiguration
    started_from: str = ''
    store: str = ''


class TrainingFolder:
    """The folder of one training.

    Args:
        root: The folder, made when missing.
        keep: Policies kept; older ones are deleted.
    """

    def __init__(self, root: Path, keep: int) -> None:
        self._root = root
        self.policies = root / 'policy'
        self.tensorboard = root / 'tensorboard'
        self._states = root / 'trainer'
        self._keep = keep
        self._newest: Path | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder, and clear away what a killed one left half written.

        Raises:
            TrainingError: Another training runs in it.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / 'lock').open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(
                    f'another training runs in {self._root}; stop it, or choose another folder'
                ) from None
            for partial in self._root.glob('*/.*.partial'):
                shutil.rmtree(partial, ignore_errors=True)
            yield

    def new_version(self, step: int) -> str:
        """Return a version for the export after gradient step `step`."""
        return free_version(step, self.policies, self._states)

    def save_policy(self, weights: Mapping[str, torch.Tensor], manifest: PolicyManifest) -> Path:
        """Export a policy and return its folder.

        Raises:
            CheckpointError: It cannot be written.
        """
        path = save_checkpoint(self.policies, weights, manifest)
        _prune(self.policies, self._keep)
        return path

    def save_state(self, state: Mapping[str, torch.Tensor], manifest: TrainerManifest) -> None:
        """Save the trainer's state.

        Raises:
            CheckpointError: It cannot be written.
        """
        self._newest = save_checkpoint(self._states, state, manifest)
        _prune(self._states, STATES_KEPT)

    def load_state(self) -> tuple[dict[str, torch.Tensor], TrainerManifest] | None:
        """Load the newest state of the trainer, or return None when there is none.

        Raises:
            CheckpointError: It is damaged; the message says what to do.
        """
        self._newest = newest = newest_checkpoint(self._states)
        if newest is None:
            return None
        try:
            return load_checkpoint(newest, TrainerManifest)
        except CheckpointError as error:
            raise CheckpointError(f'{error}; delete {newest} to go on from the state before it') from None

    def require_unchanged(self) -> None:
        """Check that the state that was loaded is still the newest.

        Raises:
            TrainingError: Another training has gone on meanwhile.
        """
        if newest_checkpoint(self._states) != self._newest:
            raise TrainingError(
                f'another training has gone on in {self._root} meanwhile; start again to go on from where it is'
            )


def _prune(folder: Path, keep: int) -> None:
    versions = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.'))
    for version in versions[:-keep]:
        shutil.rmtree(version, ignore_errors=True)

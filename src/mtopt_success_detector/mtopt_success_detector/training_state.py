"""An unfinished training on the disk, so that one that was killed goes on: `<folder>/.unfinished/<version>/`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from mtopt_core.checkpoint import Manifest, load_checkpoint, new_version, newest_checkpoint, save_checkpoint
from mtopt_core.errors import CheckpointError
from mtopt_success_detector.manifest import TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration


class UnfinishedManifest(Manifest):
    """Manifest of a training's state.

    Attributes:
        step: Gradient steps made.
        network: Which network it trains.
        training: How.
        started_from: Version whose weights it started from, empty for none.
        curves: Name of the folder of its TensorBoard curves.
    """

    kind: Literal['unfinished_success_detector'] = 'unfinished_success_detector'
    step: int
    network: DetectorConfiguration
    training: TrainingConfiguration
    started_from: str
    curves: str

    def same_as(self, other: UnfinishedManifest) -> bool:
        """Return whether the two are of one training, whatever the step."""
        varying = {'version', 'created', 'sha256', 'step', 'curves'}
        return self.model_dump(exclude=varying) == other.model_dump(exclude=varying)


class TrainingState:
    """Network and optimiser, saved and restored together.

    Args:
        folder: Folder of the checkpoints.
        network: What is trained.
        optimizer: What trains it.
    """

    def __init__(self, folder: Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._folder = folder / '.unfinished'
        self._network = network
        self._optimizer = optimizer

    def save(self, manifest: UnfinishedManifest) -> None:
        """Save the state after `manifest.step` steps in place of the one before.

        Raises:
            CheckpointError: The disk is full or fails; the state before is unharmed.
        """
        tensors = {f'network.{name}': tensor for name, tensor in self._network.state_dict().items()}
        for parameter, state in self._optimizer.state_dict()['state'].items():
            tensors |= {f'optimizer.{parameter}.{key}': tensor for key, tensor in state.items()}
        path = save_checkpoint(self._folder, tensors, manifest)
        for other in self._folder.iterdir():
            if other != path:
                shutil.rmtree(other, ignore_errors=True)

    def restore(self, wanted: UnfinishedManifest) -> UnfinishedManifest | None:
        """Go on from the state of the same training, if there is one; one that is damaged is as good as none.

        Args:
            wanted: Which training, at whatever step.

        Returns:
            What was restored, None when nothing was.
        """
        newest = newest_checkpoint(self._folder)
        if newest is None:
            return None
        try:
            tensors, manifest = load_checkpoint(newest, UnfinishedManifest)
        except CheckpointError:
            return None
        if not manifest.same_as(wanted):
            return None
        self._network.load_state_dict(_within(tensors, 'network'))
        optimizer = self._optimizer.state_dict()
        optimizer['state'] = {}
        for name, tensor in _within(tensors, 'optimizer').items():
            parameter, key = name.split('.')
            optimizer['state'].setdefault(int(parameter), {})[key] = tensor
        self._optimizer.load_state_dict(optimizer)
        return manifest

    def discard(self) -> None:
        """Remove what was saved: the training is finished."""
        shutil.rmtree(self._folder, ignore_errors=True)


def unfinished(
    tasks: tuple[str, ...],
    skills: tuple[str, ...],
    sources: tuple[str, ...],
    network: DetectorConfiguration,
    training: TrainingConfiguration,
    started_from: str,
) -> UnfinishedManifest:
    """Return the manifest of a training that has not made a step."""
    version = new_version(0)
    return UnfinishedManifest(
        version=version,
        tasks=tasks,
        skills=skills,
        outcome_sources=sources,
        step=0,
        network=network,
        training=training,
        started_from=started_from,
        curves=version,
    )


def _within(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f'{name}.'): tensor for key, tensor in tensors.items() if key.startswith(f'{name}.')}

"""The trainer: gradient steps on labelled transitions (paper section IV-A).

The loss is the cross-entropy between Q in [0, 1] and its target, the divergence D of the paper's Bellman error; with a
categorical value that between two distributions over the bins (`mtopt_policy/value.py`).

No torch.compile: on a CPU (float32, AVX2) it made a step of the preset `small` a quarter slower, two minutes late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mtopt_core.augmentation import relight
from mtopt_core.errors import MtoptError
from mtopt_core.precision import Precision
from mtopt_policy.learner.batches import Batch
from mtopt_policy.learner.configuration import AugmentationConfiguration, OptimizerConfiguration
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.q_network import QNetwork


class TrainingError(MtoptError):
    """Training cannot start or go on."""


@dataclass(frozen=True)
class StepResult:
    """What a gradient step found.

    Attributes:
        loss: Weighted mean cross-entropy of the batch.
        q: Q of the batch's examples before the step, `(P,) float32`.
    """

    loss: float
    q: np.ndarray


class Trainer:
    """Steps a Q-network and moves its targets along.

    Args:
        network: The online network.
        targets: The target networks made from it.
        optimizer: Which optimiser.
        augmentation: How images are changed.
        precision: How the network is evaluated.
    """

    def __init__(
        self,
        network: QNetwork,
        targets: TargetNetworks,
        optimizer: OptimizerConfiguration,
        augmentation: AugmentationConfiguration,
        precision: Precision,
    ) -> None:
        self.step = 0
        self._network = network
        self._targets = targets
        self._optimizer = _optimizer(network, optimizer)
        self._learning_rate, self._largest_gradient = optimizer.learning_rate, optimizer.largest_gradient
        self._augmentation = augmentation
        self._precision = precision

    def train(self, batch: Batch, generator: torch.Generator, rate: float = 1.0) -> StepResult:
        """Make one gradient step.

        Args:
            batch: Labelled transitions.
            generator: Source of the changes of the images.
            rate: Share of the learning rate.

        Raises:
            TrainingError: Loss or gradient is not finite; the weights are as they were before.
        """
        self._network.train()
        device = self._precision.device
        states, actions = batch.states.to(device), batch.actions.to(device)
        of, task = batch.examples.on(device)
        targets, weights = (torch.from_numpy(values).to(device) for values in (batch.targets, batch.weights))
        images = self._precision.floats(states.images)
        images = relight(images, self._augmentation.brightness, self._augmentation.contrast, generator)
        with self._precision.autocast():
            outputs = self._network.outputs(images, actions, states.state, task, of)
        loss = weights @ self._network.value.losses(outputs, targets)
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._largest_gradient)
        if not torch.isfinite(loss + norm):
            raise TrainingError(
                f'loss {loss.item():.3g} or its gradient {norm.item():.3g} is not finite at step {self.step + 1}; '
                'checkpoints are as they were. Lower optimizer.learning_rate and start again from the last of them'
            )
        for group in self._optimizer.param_groups:
            group['lr'] = self._learning_rate * rate
        self._optimizer.step()
        self.step += 1
        self._targets.follow(self._network, self.step)
        q = self._network.value.logit(outputs.detach()).sigmoid()
        return StepResult(loss.item(), q.cpu().numpy())

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything a later process needs to go on, by name."""
        tensors = {
            f'{name}.{key}': tensor
            for name, network in self._networks().items()
            for key, tensor in network.state_dict().items()
        }
        for parameter, state in self._optimizer.state_dict()['state'].items():
            tensors |= {f'optimizer.{parameter}.{key}': tensor for key, tensor in state.items() if tensor is not None}
        return tensors

    def restore(self, state: Mapping[str, torch.Tensor], step: int) -> None:
        """Go on from a `state` after gradient step `step`.

        Raises:
            TrainingError: The state is of another network or optimiser.
        """
        try:
            for name, network in self._networks().items():
                network.load_state_dict(within(state, name))
            optimizer = self._optimizer.state_dict()
            optimizer['state'] = {}
            for name, tensor in within(state, 'optimizer').items():
                parameter, key = name.split('.')
                optimizer['state'].setdefault(int(parameter), {})[key] = tensor
            self._optimizer.load_state_dict(optimizer)
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f'the training state is of another network or optimiser: {error}') from None
        self.step = step

    def _networks(self) -> dict[str, QNetwork]:
        return {'online': self._network, 'averaged': self._targets.averaged, 'lagged': self._targets.lagged}


def _optimizer(network: nn.Module, configuration: OptimizerConfiguration) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {'params': [parameter for parameter in parameters if parameter.ndim > 1], 'weight_decay': configuration.l2},
        {'params': [parameter for parameter in parameters if parameter.ndim == 1]},
    ]
    if configuration.method == 'adam':
        return torch.optim.Adam(groups, lr=configuration.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=configuration.learning_rate, momentum=0.9, fused=True)


def within(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Return the part of a state whose names start with `name.`, without it."""
    return {key.removeprefix(f'{name}.'): tensor for key, tensor in state.items() if key.startswith(f'{name}.')}

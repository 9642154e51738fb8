"""The learned policy: the action of highest Q, found by CEM (paper section IV-A)."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import torch

from mtopt_core.checkpoint import load_checkpoint
from mtopt_core.episode import Action, Observation
from mtopt_core.errors import CheckpointError, ImageError
from mtopt_core.images import decode_square
from mtopt_core.tasks import TaskSet
from mtopt_policy.action_space import CONTINUOUS, Choice, encode_state
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.inference import Backend, backend_for
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork

Watcher = Callable[[torch.Tensor, torch.Tensor], None]
"""Told what CEM tries: the encoded actions `(1, N, 8)` of an iteration and their logits `(1, N)`."""


class QFunctionPolicy:
    """Acts greedily on a Q-function, but for a share of random moves.

    Args:
        backend: The Q-function.
        manifest: What it was trained for.
        tasks: The tasks and their skills.
        exploration: Probability, per decision, of a uniformly random move instead of the best action. Never of another
            choice: one random close would end most episodes before they start.

    Attributes:
        watcher: Who is told what CEM tries, none usually.
    """

    name = 'learned'

    def __init__(self, backend: Backend, manifest: PolicyManifest, tasks: TaskSet, exploration: float = 0.0):
        self.manifest = manifest
        self.watcher: Watcher | None = None
        self._backend = backend
        self._tasks = tasks
        self._exploration = exploration
        self._cem = CrossEntropyMethod(manifest.action_space)

    @classmethod
    def load(
        cls, path: Path, tasks: TaskSet, threads: int = 1, exploration: float = 0.0, robots: int = 1
    ) -> QFunctionPolicy:
        """Load a checkpoint.

        Args:
            path: The checkpoint's folder.
            tasks: The tasks of this cell.
            threads: CPU threads of a decision.
            exploration: As in the constructor.
            robots: Robots that act at the same time, each by an `explorer` of its own.

        Raises:
            CheckpointError: The checkpoint is damaged, not a policy's, or for other tasks.
        """
        weights, manifest = load_checkpoint(path, PolicyManifest)
        manifest.require_fit(tasks)
        network = QNetwork(manifest.network)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f'checkpoint {path}: weights are not of the network it names: {error}') from None
        backend = backend_for(network, CrossEntropyMethod(manifest.action_space).samples, threads, robots)
        return cls(backend, manifest, tasks, exploration)

    def explorer(self, exploration: float) -> QFunctionPolicy:
        """Return the same policy for an episode beside others, with its own share of random moves."""
        policy = copy(self)
        policy._exploration = exploration
        return policy

    @property
    def model_version(self) -> str:
        """Return the checkpoint's version."""
        return self.manifest.version

    @property
    def views(self) -> tuple[str, ...]:
        """Return the network's views."""
        return self.manifest.network.views

    def begin(self, task: str, seed: int) -> None:
        """Start an episode; see `Policy.begin`."""
        self._skill = self._tasks[task].skill
        self._task = torch.from_numpy(self._tasks.one_hot(task))[None]
        self._generator = torch.Generator().manual_seed(seed)
        self._ending = iter(self.manifest.action_space.ending(self._skill))
        self._finished = False

    def act(self, observation: Observation) -> Action:
        """Decide; see `Policy.act`.

        Raises:
            ImageError: A view the network needs is missing or damaged.
            CheckpointError: Q is not a number.
        """
        if self._finished:
            return next(self._ending)
        space = self.manifest.action_space
        if torch.rand((), generator=self._generator) < self._exploration:
            random = 2 * torch.rand(CONTINUOUS, generator=self._generator) - 1
            return space.decode(space.assemble(random, torch.tensor(Choice.MOVE)).numpy(), observation)
        vector, q_value = self._best(observation)
        action = space.decode(vector, observation, q_value=q_value)
        self._finished = space.scripted_ending and space.finishes(action, self._skill)
        return action

    def q_value(self, observation: Observation, action: Action, task: str) -> float:
        """Return Q of an action somebody took, in [0, 1]: how promising this policy thinks it is.

        Raises:
            ImageError: A view the network needs is missing or damaged.
            UnknownTaskError: The task is not in the task set.
        """
        features = self._backend.tower(self._images(observation))
        encoded = torch.from_numpy(self.manifest.action_space.encode(action, observation))
        logits = self._backend.head(
            features,
            encoded.expand(1, self._cem.samples, -1),
            torch.from_numpy(encode_state(observation))[None],
            torch.from_numpy(self._tasks.one_hot(task))[None],
        )
        return float(logits[0, 0].sigmoid())

    def _best(self, observation: Observation) -> tuple[np.ndarray, float]:
        """Return the encoded action of highest Q, `(8,)`, and its Q."""
        features = self._backend.tower(self._images(observation))
        state = torch.from_numpy(encode_state(observation))[None]
        allowed = self.manifest.action_space.choices(self._skill, observation.gripper_closed)

        def score(samples: torch.Tensor) -> torch.Tensor:
            logits = self._backend.head(features, samples, state, self._task)
            if self.watcher is not None:
                self.watcher(samples, logits)
            return logits

        actions, logits = self._cem.maximise(score, torch.from_numpy(allowed)[None], self._generator)
        if not torch.isfinite(logits).all():
            raise CheckpointError(
                f'policy {self.model_version}: Q is {float(logits[0])} at {observation.stamp} ns; '
                'its weights are spoilt, remove the checkpoint'
            )
        return actions[0].numpy(), float(logits[0].sigmoid())

    def _images(self, observation: Observation) -> torch.Tensor:
        """Return the network's views, `(1, V, 3, S, S) float32 in [0, 1]`."""
        network = self.manifest.network
        missing = [view for view in network.views if view not in observation.images]
        if missing:
            raise ImageError(
                f'policy {self.model_version} needs the views {", ".join(network.views)}; '
                f'the observation at {observation.stamp} ns has no {", ".join(missing)}'
            )
        views = [decode_square(observation.images[view], network.image_size) for view in network.views]
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)[None].float() / 255

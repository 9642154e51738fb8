"""The learner: log replay reads, impersonation expands, buffers sample, Bellman updater labels, trainer steps.

The parts of the paper's Fig. 11 in one process. A background thread loads what the next step needs. Everything random
is drawn from the seed and the number of the gradient step, so that a run can be repeated and resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import torch

from mtopt_core.episode import Verdict, time_of
from mtopt_core.precision import Precision
from mtopt_core.tasks import TaskSet
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.learner.batches import Batch, Loader, UnlabelledTransitions
from mtopt_policy.learner.bellman_updater import BellmanUpdater
from mtopt_policy.learner.configuration import TrainerConfiguration
from mtopt_policy.learner.data_sharing import DataSharing
from mtopt_policy.learner.drawing import draw_transitions
from mtopt_policy.learner.held_out import areas_under_curve
from mtopt_policy.learner.impersonation import Impersonation, impersonate
from mtopt_policy.learner.log_replay import LogReplay, Replay
from mtopt_policy.learner.stopwatch import BATCH, LABELLING, LOADING, TRAINING, UNLABELLED, Stopwatch
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.task_buffers import TaskBuffers
from mtopt_policy.learner.train_buffer import LabelledTransitions, TrainBuffer
from mtopt_policy.learner.trainer import StepResult, Trainer, within
from mtopt_policy.q_network import QNetwork

DRAW, LABEL, LOAD, TRAIN = range(4)
"""What random numbers are for: each use has its own stream in every step."""


class Learner:
    """All parts of the learner, one gradient step at a time.

    Args:
        log_replay: Reads the data.
        network: The network to train.
        tasks: All tasks, in one-hot order.
        configuration: How it learns.
        impersonation: Impersonation function.
        learned: The tasks that are learned; the buffers of others stay empty.
        precision: How the networks are evaluated.

    Attributes:
        trainer: The trainer, for its state.
        targets: The target networks; the averaged one is the policy.
        buffers: The task buffers.
        replay: The episodes in them, and the others.
        stopwatch: Where the time goes.
    """

    def __init__(
        self,
        log_replay: LogReplay,
        network: QNetwork,
        tasks: TaskSet,
        configuration: TrainerConfiguration,
        impersonation: Impersonation,
        learned: Collection[str],
        precision: Precision,
    ) -> None:
        targets, action_space = configuration.targets, log_replay.store.layout.action_space
        network = network.to(precision.device)
        cem = CrossEntropyMethod(action_space, targets.cem_samples, targets.cem_elites, targets.cem_iterations)
        masks = np.array(
            [[action_space.choices(task.skill, closed) for closed in (False, True)] for task in tasks.tasks]
        )
        self.targets = TargetNetworks(network, targets.averaging, targets.lag)
        self.trainer = Trainer(network, self.targets, configuration.optimizer, configuration.augmentation, precision)
        self.stopwatch = Stopwatch()
        self._log_replay = log_replay
        self._tasks = tasks
        self._configuration = configuration
        self._impersonation = impersonation
        self._not_learned = [number for number, name in enumerate(tasks.names) if name not in learned]
        self._precision = precision
        self._bellman_updater = BellmanUpdater(
            self.targets, cem, masks, targets.discount, targets.monte_carlo, targets.logged_action, precision
        )
        self._train_buffer = TrainBuffer(targets.age_limit)
        self._loader = Loader(log_replay.store, targets.n_step)
        self._sharing: DataSharing | None = None
        if impersonation == Impersonation.GAIN:
            self._sharing = DataSharing(configuration.sharing, log_replay.store, len(tasks))
        self._background = ThreadPoolExecutor(1, 'loader')
        self._next_drawn: Future[UnlabelledTransitions] | None = None
        self._next_batch: Future[Batch] | None = None
        self._fill(Replay.empty(len(tasks)))

    def refresh(self) -> None:
        """Fill the task buffers with what log replay has read and the outcomes known by now."""
        self._fill(self._log_replay.replay())

    def step(self, rate: float = 1.0) -> tuple[Batch, StepResult]:
        """Label transitions if it is time to, then make one gradient step.

        Args:
            rate: Share of the learning rate.

        Returns:
            The batch learned from, and what the step found.

        Raises:
            TrainingError: Loss or gradient is not finite.
        """
        step = self.trainer.step
        if self._next_batch is None and len(self._train_buffer):
            # Resumed: as ever, the batch is drawn before new labels come.
            self._next_batch = self._load(step)
        if step % self._configuration.targets.uses == 0 or not len(self._train_buffer):
            self._label(step)
        with self.stopwatch.during(BATCH):
            batch = (self._next_batch or self._load(step)).result()
        self._next_batch = self._load(step + 1)
        with self.stopwatch.during(TRAINING):
            return batch, self.trainer.train(batch, self._generator(step, TRAIN), rate)

    def figures(self, batch: Batch, seconds: float) -> dict[str, float]:
        """Return what to watch of the data path, by name.

        Args:
            batch: The transitions last learned from; the ages are theirs.
            seconds: Time since the last call, of which the parts' shares are.
        """
        store = self._log_replay.store
        figures = {f'time/{part}': passed / seconds for part, passed in self.stopwatch.lap().items()}
        figures['train buffer/transitions'] = len(self._train_buffer)
        figures['train buffer/age of labels, steps'] = self._train_buffer.mean_age(self.trainer.step)
        now = datetime.now(UTC)
        recorded = [time_of(episode_id.decode()) for episode_id in store.ids_of(batch.rows)]
        ages = [(now - stamp).total_seconds() / 3600 for stamp in recorded if stamp is not None]
        if ages:
            figures['train buffer/age of episodes, hours'] = float(np.mean(ages))
        return figures

    def areas_under_curve(self) -> dict[str, float]:
        """Return, by task, how well the exported Q ranks held-out last decisions: 1 is perfect, 0.5 is chance."""
        store, episodes = self._log_replay.store, self.replay.held_out
        # For the tasks of their skill, whatever the training episodes are used for, so that trainings compare.
        expanded = self._of_learned(impersonate(episodes, Impersonation.SKILL, self._tasks))
        return areas_under_curve(self.targets.averaged, self._precision, store, episodes.places, expanded, self._tasks)

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything a later process needs to go on as if this one had not stopped, by name."""
        state = self.trainer.state()
        state |= {f'train_buffer.{key}': tensor for key, tensor in self._train_buffer.state().items()}
        if self._sharing:
            state |= {f'sharing.{key}': tensor for key, tensor in self._sharing.state().items()}
        return state

    def restore(self, state: Mapping[str, torch.Tensor], step: int, same_store: bool) -> None:
        """Go on from a `state` after gradient step `step`.

        Args:
            state: The state.
            step: Gradient steps made.
            same_store: Whether it refers to the rows of the present episode store. If not, transitions are labelled
                anew.

        Raises:
            TrainingError: The state is of another network or optimiser.
        """
        self.trainer.restore(state, step)
        if not same_store:
            return
        if labelled := within(state, 'train_buffer'):
            self._train_buffer.restore(labelled)
        if self._sharing and (worth := within(state, 'sharing')):
            self._sharing.restore(worth)

    def close(self) -> None:
        """Stop the background thread."""
        self._background.shutdown(cancel_futures=True)

    def _fill(self, replay: Replay) -> None:
        self.replay, episodes = replay, replay.training
        gains = self._sharing.gains(episodes) if self._sharing else None
        expanded = impersonate(episodes, self._impersonation, self._tasks, gains)
        self.buffers = TaskBuffers.of(episodes.places, self._of_learned(expanded))

    def _of_learned(self, expanded: np.ndarray) -> np.ndarray:
        """Leave out examples of tasks that are not learned."""
        expanded[:, self._not_learned] = Verdict.UNSURE
        return expanded

    def _label(self, step: int) -> None:
        uses = self._configuration.targets.uses
        with self.stopwatch.during(UNLABELLED):
            drawn = (self._next_drawn or self._background.submit(self._draw, step, self.buffers)).result()
        if self._sharing and self._sharing.is_due(step, uses):
            self._sharing.judge(self.replay.training.places, self.targets.averaged, self._precision, step)
            self._fill(self.replay)
        self._next_drawn = self._background.submit(self._draw, step + uses, self.buffers)
        with self.stopwatch.during(LABELLING):
            self._train_buffer.add(self._bellman_updater.label(drawn, self._generator(step, LABEL)), step)

    def _draw(self, step: int, buffers: TaskBuffers) -> UnlabelledTransitions:
        rebalancing, store = self._configuration.rebalancing, self._log_replay.store
        with self.stopwatch.during(LOADING):
            drawn = draw_transitions(rebalancing, buffers, store, self._configuration.batch, self._rng(step, DRAW))
            return self._loader.unlabelled(*drawn)

    def _load(self, step: int) -> Future[Batch]:
        rng = self._rng(step, LOAD)
        labelled = self._train_buffer.sample(self._configuration.batch, rng)
        rebalancing = self._configuration.rebalancing
        shares = rebalancing.shares(self.buffers.sizes) if rebalancing.every_task else None
        return self._background.submit(self._batch, labelled, shares, rng)

    def _batch(self, labelled: LabelledTransitions, shares: np.ndarray | None, rng: np.random.Generator) -> Batch:
        with self.stopwatch.during(LOADING):
            return self._loader.batch(labelled, shares, self._configuration.augmentation.shift, rng)

    def _rng(self, step: int, use: int) -> np.random.Generator:
        return np.random.default_rng((self._configuration.seed, step, use))

    def _generator(self, step: int, use: int) -> torch.Generator:
        seed = int(self._rng(step, use).integers(2**63))
        return torch.Generator(self._precision.device).manual_seed(seed)

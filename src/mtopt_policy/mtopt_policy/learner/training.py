"""One training: from a folder of bags to exported policies, resumed where an earlier run stopped."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from mtopt_core.checkpoint import load_checkpoint, load_manifest, newest_checkpoint
from mtopt_core.configuration import CellConfiguration
from mtopt_core.errors import CheckpointError
from mtopt_core.growing import grown
from mtopt_core.label_store import DEFAULT_SOURCES
from mtopt_core.memory import keep_freed_memory
from mtopt_core.paths import DataFolder
from mtopt_core.precision import Precision
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.learner.checkpoints import TrainerManifest, TrainingFolder
from mtopt_policy.learner.configuration import load_trainer
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.learner import Learner
from mtopt_policy.learner.log_replay import LogReplay
from mtopt_policy.learner.monitor import Interval, Monitor
from mtopt_policy.learner.stopwatch import BATCH, UNLABELLED
from mtopt_policy.learner.task_buffers import SUCCESS
from mtopt_policy.learner.trainer import TrainingError
from mtopt_policy.learner.transitions import StoreLayout
from mtopt_policy.manifest import PolicyManifest, TrainingRecord
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

INTERVAL = 50
"""Gradient steps between two points of the curves."""

REFRESHING = 0.05
"""Share of the time that looking for new data may take: of a million episodes it takes seconds."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class TrainingOptions:
    """What to train, on what.

    Attributes:
        data: The collected data.
        out: Folder of the training; one that holds a trainer's state is gone on with.
        tasks: All tasks the networks know.
        cell: Its step scales the actions.
        preset: Trainer preset.
        overrides: Changes of the preset, `name=value`.
        setting: Action space: `eased`, or `full` as the paper's.
        impersonation: Impersonation function.
        learn: Names of the tasks to learn, none for all; the one-hot has a place for every task all the same.
        sources: Whose outcomes count, the first that has one.
        start: Checkpoint of a policy to start from, or a folder of them, whose newest is taken. It may know fewer
            tasks: the first ones, in the same order.
        follow: Whether bags and outcomes that arrive during the training are taken in. Without, a run can be repeated:
            the same data and seed give the same weights.
        refresh_seconds: Time between two looks for them, s.
    """

    data: DataFolder
    out: Path
    tasks: TaskSet
    cell: CellConfiguration
    preset: str = 'small'
    overrides: tuple[str, ...] = ()
    setting: Literal['eased', 'full'] = 'eased'
    impersonation: Impersonation = Impersonation.SKILL
    learn: tuple[str, ...] = ()
    sources: tuple[str, ...] = DEFAULT_SOURCES
    start: Path | None = None
    follow: bool = True
    refresh_seconds: float = 60.0

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the tasks that are learned, in one-hot order."""
        return tuple(name for name in self.tasks.names if name in self.learn or not self.learn)


@dataclass
class Measured:
    """What a run measured.

    Attributes:
        episodes: Bags read.
        read_seconds: Time that took, s.
        steps: Gradient steps made.
        seconds: Time they took, exports included, s.
        waited: Of it, time spent waiting for data, s.
        areas_under_curve: By task, how well the last exported Q ranks held-out last decisions.
    """

    episodes: int = 0
    read_seconds: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    areas_under_curve: dict[str, float] = field(default_factory=dict)


class Observer(Protocol):
    """Told how a training goes."""

    def stepped(self, step: int, interval: Interval) -> None:
        """Take note of what the last `INTERVAL` steps up to this one found."""

    def exported(self, path: Path, manifest: PolicyManifest) -> None:
        """Take note of a newly exported policy."""


class Training:
    """Sets the learner up, runs it, exports.

    Args:
        options: What to train.

    Raises:
        ConfigurationError: The preset breaks a rule.
        UnknownTaskError: A task to learn is not in the task set.
        CheckpointError: The checkpoint or the state to go on from is damaged or does not fit.
    """

    def __init__(self, options: TrainingOptions) -> None:
        keep_freed_memory()
        self.options = options
        for name in options.learn:
            options.tasks.index(name)
        self.configuration = load_trainer(options.preset, options.overrides)
        self.folder = TrainingFolder(options.out, self.configuration.keep)
        self.measured = Measured()
        self._network_configuration = QNetworkConfiguration(
            tasks=len(options.tasks), **self.configuration.network.model_dump()
        )
        self._action_space: ActionSpace = getattr(ActionSpace, options.setting)(options.cell.step)
        self._started_from = ''
        network, views = self._start(), self._network_configuration.views
        layout = StoreLayout(
            views=views, image_size=self._network_configuration.image_size, action_space=self._action_space
        )
        self._log_replay = LogReplay(options.data, options.tasks, options.sources, layout)
        self.learner = Learner(
            self._log_replay,
            network,
            options.tasks,
            self.configuration,
            options.impersonation,
            options.learned,
            Precision.of_this_machine(),
        )
        self._resume()
        self._exported_step = self.learner.trainer.step

    @property
    def step(self) -> int:
        """Gradient steps made, earlier runs included."""
        return self.learner.trainer.step

    @property
    def store(self) -> EpisodeStore:
        """The episode store."""
        return self._log_replay.store

    def read(self, progress: Report = silent) -> None:
        """Read new bags and the outcomes known by now.

        Args:
            progress: Told how many of the new bags have been read.

        Raises:
            BagError: A bag that cannot be read cannot be set aside either.
            LabelError: The label store is damaged.
            TrainingError: The episode store cannot be written.
        """
        start = time.perf_counter()
        with self._disk_errors():
            read = self._log_replay.read(progress)
        self.measured.episodes += read
        self.measured.read_seconds += (time.perf_counter() - start) if read else 0.0
        if self._log_replay.changed():
            self.learner.refresh()

    def require_data(self) -> None:
        """Check that there is something to learn from.

        Raises:
            TrainingError: There is not; the message says what is missing.
        """
        replay, sizes = self.learner.replay, self.learner.buffers.sizes
        data, sources = self.options.data, ', '.join(self.options.sources)
        if not replay.training:
            reasons = '; '.join(f'{number}: {reason}' for reason, number in replay.left_out.most_common(3))
            raise TrainingError(
                f'{data.bags} holds no episode to learn from ({reasons or "no bags"}). Outcomes by {sources} count: '
                'grade episodes with a success detector, or name `--outcomes simulator` for simulated ones'
            )
        if not sizes[:, SUCCESS].any():
            tasks = ', '.join(self.options.learn) or 'any task'
            raise TrainingError(
                f'none of the {len(replay.training)} episodes in {data.bags} is a success for {tasks} according to '
                f'{sources}; collect until the scripted policies have succeeded at least once'
            )

    def run(self, steps: int, stop: threading.Event, observer: Observer) -> None:
        """Make gradient steps until there are `steps` in all, or until told to stop; then export.

        New bags and outcomes are taken in while it runs, if the options say so. A training runs once: another on the
        same folder goes on.

        Args:
            steps: Gradient steps, those of earlier runs included.
            stop: Set to end after the step being made.
            observer: Told how it goes.

        Raises:
            TrainingError: There is nothing to learn from, another training runs in the folder, or has run since this
                one was set up, the loss is not finite, or curves or transitions cannot be written.
            CheckpointError: A checkpoint cannot be written.
        """
        self.require_data()
        with self._disk_errors(), self.folder.locked():
            self.folder.require_unchanged()
            self._run(steps, stop, observer)

    def _run(self, steps: int, stop: threading.Event, observer: Observer) -> None:
        start = refreshed = exported = interval_start = time.perf_counter()
        pause = self.options.refresh_seconds
        first = self.step
        monitor = Monitor(self.folder.tensorboard, self.options.tasks.names, self.step)
        try:
            while self.step < steps and not stop.is_set():
                batch, result = self.learner.step(self._rate(steps))
                monitor.record(batch, result)
                now = time.perf_counter()
                if self.step % INTERVAL == 0:
                    seconds, interval_start = now - interval_start, now
                    figures = {'steps per second': INTERVAL / seconds, **self.learner.figures(batch, seconds)}
                    observer.stepped(self.step, monitor.write(self.step, self.learner.buffers.sizes, figures))
                if self.options.follow and now - refreshed > pause:
                    self.read()
                    self.require_data()
                    refreshed = time.perf_counter()
                    pause = max(self.options.refresh_seconds, (refreshed - now) / REFRESHING)
                if now - exported > self.configuration.export_seconds:
                    self._export(monitor, observer)
                    exported = now
            self._export(monitor, observer)
        finally:
            monitor.close()
            self.learner.close()
            self.measured.steps += self.step - first
            self.measured.seconds += time.perf_counter() - start
            self.measured.waited = self.learner.stopwatch.seconds[UNLABELLED] + self.learner.stopwatch.seconds[BATCH]

    def _rate(self, steps: int) -> float:
        """Return the share of the learning rate for the next of so many gradient steps."""
        cooldown = self.configuration.optimizer.cooldown * steps
        return min(1.0, (steps - self.step) / cooldown) if cooldown else 1.0

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise TrainingError(
                f'{error}; make room where {self.options.out} and {self.options.data.root} are, and start again: '
                'the training goes on from its last export'
            ) from None

    def _start(self) -> QNetwork:
        """Return a new network, or that of the policy to start from, grown to the tasks it does not know yet."""
        torch.manual_seed(self.configuration.seed)
        network = QNetwork(self._network_configuration)
        if self.options.start is not None:
            path = newest_checkpoint(self.options.start) or self.options.start
            weights, manifest = load_checkpoint(path, PolicyManifest)
            manifest.require_extended(self.options.tasks)
            self._require_same(manifest, path)
            try:
                network.load_state_dict(grown(weights, network))
            except RuntimeError as error:
                raise CheckpointError(f'{path} has other weights than its manifest says: {error}') from None
            self._started_from = manifest.version
        return network

    def _resume(self) -> None:
        found = self.folder.load_state()
        if found is not None:
            state, manifest = found
            manifest.require_fit(self.options.tasks)
            self._require_same(manifest, self.options.out)
            if manifest.configuration.optimizer.method != self.configuration.optimizer.method:
                raise CheckpointError(
                    f'{self.options.out} was trained with optimizer {manifest.configuration.optimizer.method}; '
                    'go on with it, or choose another folder'
                )
            self.learner.restore(state, manifest.step, same_store=manifest.store == self.store.identity)
            self._started_from = manifest.started_from

    def _require_same(self, manifest: PolicyManifest | TrainerManifest, path: Path) -> None:
        """Check that a checkpoint is of this network, the number of tasks excepted, and of this action space."""
        network = manifest.network.model_copy(update={'tasks': len(self.options.tasks)})
        for name, theirs, ours in (
            ('network', network, self._network_configuration),
            ('action space', manifest.action_space, self._action_space),
        ):
            if theirs != ours:
                raise CheckpointError(
                    f'{path} has the {name} {theirs}, asked for is {ours}; '
                    'use the preset, setting and cell it was trained with'
                )

    def _export(self, monitor: Monitor, observer: Observer) -> None:
        if self.step == self._exported_step:
            return
        options = self.options
        areas = self.learner.areas_under_curve()
        monitor.write_areas(self.step, areas)
        common: dict[str, Any] = {
            'version': self.folder.new_version(self.step),
            'tasks': options.tasks.names,
            'skills': tuple(task.skill for task in options.tasks.tasks),
            'outcome_sources': options.sources,
            'network': self._network_configuration,
            'action_space': self._action_space,
        }
        record = TrainingRecord(
            preset=options.preset,
            steps=self.step,
            impersonation=options.impersonation,
            learned=options.learned if options.learn else (),
            episodes=len(self.learner.replay.training),
            started_from=self._started_from,
            areas_under_curve=areas,
        )
        manifest = PolicyManifest(**common, training=record)
        path = self.folder.save_policy(self.learner.targets.averaged.state_dict(), manifest)
        self.folder.save_state(
            self.learner.state(),
            TrainerManifest(
                **common,
                step=self.step,
                configuration=self.configuration,
                started_from=self._started_from,
                store=self.store.identity,
            ),
        )
        self._exported_step = self.step
        self.measured.areas_under_curve = areas
        observer.exported(path, load_manifest(path, PolicyManifest))

"""Trains a success detector on labelled final images (paper section V)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from mtopt_core.augmentation import recolour, relight, shift, turn
from mtopt_core.checkpoint import free_version, load_checkpoint, new_version, save_checkpoint
from mtopt_core.errors import CheckpointError, LabelError
from mtopt_core.growing import grown
from mtopt_core.precision import Precision
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.batches import BalancedBatches, mirror, show
from mtopt_success_detector.dataset import Dataset
from mtopt_success_detector.manifest import DetectorManifest, ThresholdRule, TrainingConfiguration
from mtopt_success_detector.model_card import certify
from mtopt_success_detector.network import DetectorConfiguration, SuccessDetector
from mtopt_success_detector.splits import Split
from mtopt_success_detector.training_state import TrainingState, UnfinishedManifest, unfinished

OnStep = Callable[[int, float], None]
"""Told the number of gradient steps made and the loss of the last one."""

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
SAVE_EVERY = 15.0
"""Time between two states on the disk, s: what a killed training loses."""
CURVE_EVERY = 20
"""Steps that one point of a curve is the mean of."""
TENSORBOARD = 'tensorboard'


class Trainer:
    """Makes gradient steps by cross-entropy. Everything random depends on the seed and the step's number alone.

    Args:
        network: What to train, in place; its weights are the start.
        dataset: Training episodes.
        tasks: The tasks to judge.
        training: How.
        precision: Where and in which arithmetic.
    """

    def __init__(
        self,
        network: SuccessDetector,
        dataset: Dataset,
        tasks: TaskSet,
        training: TrainingConfiguration,
        precision: Precision,
    ) -> None:
        self._network = network.to(precision.device)
        self._dataset = dataset
        self._training = training
        self._precision = precision
        self._batches = BalancedBatches(dataset.outcomes, dataset.own_skill)
        looks = np.array(network.look_of_task)
        self._looks = looks
        # What is not mirrored, like whole pictures, stays an example of what it was.
        skills = [tasks.skills[skill] for skill in network.configuration.regions]
        self._can_be_mirrored = np.array([False, *(skill.mirrored_sections is not None for skill in skills)])
        self._mirrored = [
            mirrored if can else task
            for task, (can, mirrored) in enumerate(zip(self._can_be_mirrored[looks], tasks.mirrored, strict=True))
        ]
        # The look of an episode is that of the first task of its skill.
        self._own_look = looks[dataset.own_skill.argmax(axis=1)]
        self._margin = round(training.shift * network.configuration.image_size)
        self.optimizer = torch.optim.AdamW(network.parameters(), training.learning_rate, weight_decay=training.l2)

    def step(self, number: int) -> float:
        """Make one gradient step and return its loss.

        Args:
            number: Of the step, from 0.
        """
        training, device = self._training, self._precision.device
        rng = np.random.default_rng((training.seed, number))
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        rows, weights = self._batches.draw(training.batch, rng)
        present = show(self._dataset.present[rows], self._own_look[rows], training.view_dropout, rng)
        weights = weights * np.take(present.any(axis=2), self._looks, axis=1)
        outcomes = np.nan_to_num(self._dataset.outcomes[rows])
        mirrored = rng.random(len(rows)) < training.mirror
        outcomes, weights = (mirror(values, mirrored, self._mirrored) for values in (outcomes, weights))
        weights /= weights.sum()
        images = torch.from_numpy(shift(self._dataset.images(rows)[present], self._margin, rng)).permute(0, 3, 1, 2)
        pixels = self._precision.floats(images)
        episode, look, _ = present.nonzero()
        rectified = torch.from_numpy(look > 0).to(device)
        if rectified.any():
            reflected = torch.from_numpy(self._can_be_mirrored[look] & mirrored[episode]).to(device)
            pixels[reflected] = pixels[reflected].flip(-1)
            pixels[rectified] = turn(pixels[rectified], training.turn, generator)
        pixels = relight(pixels, training.brightness, training.contrast, generator)
        pixels = recolour(pixels, training.tint, training.saturation, generator)
        self._network.train()
        with self._precision.autocast():
            logits = self._network.of_images(pixels, torch.from_numpy(present).to(device))
        loss = functional.binary_cross_entropy_with_logits(
            logits.float(), torch.from_numpy(outcomes).to(device), torch.from_numpy(weights).to(device), reduction='sum'
        )
        self.optimizer.zero_grad()
        loss.backward()
        for group in self.optimizer.param_groups:
            group['lr'] = training.learning_rate * learning_rate_share(number, training.steps)
        self.optimizer.step()
        return loss.item()


def learning_rate_share(step: int, steps: int) -> float:
    """Return the share of the highest learning rate at a step: it rises in a line, and falls to zero by a cosine."""
    warm_up = WARM_UP * steps
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def train_detector(
    dataset: Dataset,
    tasks: TaskSet,
    sources: Sequence[str],
    configuration: DetectorConfiguration,
    training: TrainingConfiguration,
    folder: Path,
    start: Path | None = None,
    rule: ThresholdRule | None = None,
    on_step: OnStep = lambda _step, _loss: None,
) -> tuple[Path, DetectorManifest]:
    """Train a detector, choose its thresholds on validation episodes, measure it on test episodes, save it.

    A training of the same description that was killed is gone on with.

    Args:
        dataset: Labelled episodes of all splits.
        tasks: The tasks to judge.
        sources: Whose outcomes the dataset holds; kept in the manifest.
        configuration: Which network.
        training: How.
        folder: Folder of the checkpoints.
        start: Checkpoint to go on from; it may know fewer tasks.
        rule: By what the thresholds are chosen.
        on_step: Told about every step.

    Returns:
        The checkpoint and what it says about itself.

    Raises:
        CheckpointError: `start` is damaged or does not fit, or the result cannot be saved.
        LabelError: No task has both a success and a failure to learn from.
    """
    learning = dataset.of(Split.TRAIN)
    taught = taught_tasks(learning, tasks)
    torch.manual_seed(training.seed)
    network, started_from = SuccessDetector(configuration), ''
    if start is not None:
        started_from = _begin_with(start, network, tasks)
    precision = Precision.of_this_machine()
    trainer = Trainer(network, learning, tasks, training, precision)
    skills = tuple(task.skill for task in tasks.tasks)
    _train(
        trainer,
        TrainingState(folder, network, trainer.optimizer),
        unfinished(tasks.names, skills, tuple(sources), configuration, training, started_from),
        folder,
        on_step,
    )
    manifest = DetectorManifest(
        version=free_version(training.steps, folder),
        tasks=tasks.names,
        skills=skills,
        outcome_sources=tuple(sources),
        network=configuration,
        training=training,
        started_from=started_from,
        **certify(network.eval(), dataset, tasks, taught, rule or ThresholdRule(), precision),
    )
    path = save_checkpoint(folder, network.state_dict(), manifest)
    TrainingState(folder, network, trainer.optimizer).discard()
    return path, manifest


def _train(trainer: Trainer, state: TrainingState, manifest: UnfinishedManifest, folder: Path, on_step: OnStep) -> None:
    """Make the steps that are left, saving the state now and then."""
    manifest = state.restore(manifest) or manifest
    steps, losses, saved = manifest.training.steps, [], time.monotonic()
    with SummaryWriter(str(folder / TENSORBOARD / manifest.curves), purge_step=manifest.step) as writer:
        for number in range(manifest.step, steps):
            losses.append(trainer.step(number))
            if len(losses) == CURVE_EVERY:
                writer.add_scalar('loss', float(np.mean(losses)), number + 1)
                losses.clear()
            if time.monotonic() - saved > SAVE_EVERY:
                state.save(manifest.model_copy(update={'step': number + 1, 'version': new_version(number + 1)}))
                saved = time.monotonic()
            on_step(number + 1, losses[-1] if losses else math.nan)


def _begin_with(start: Path, network: SuccessDetector, tasks: TaskSet) -> str:
    """Give a network the weights of a checkpoint, grown to tasks it does not know; return its version."""
    weights, manifest = load_checkpoint(start, DetectorManifest)
    manifest.require_extended(tasks)
    wanted = network.configuration
    if manifest.network.of_tasks(tasks) != wanted.of_tasks(tasks):
        raise CheckpointError(f'checkpoint {start} is of another network: {manifest.network!r}, not {wanted!r}')
    network.load_state_dict(grown(weights, network))
    return manifest.version


def taught_tasks(dataset: Dataset, tasks: TaskSet) -> tuple[str, ...]:
    """Return the tasks with a success and a failure among some episodes: nothing else can be learned.

    Raises:
        LabelError: There is none.
    """
    both = (dataset.outcomes == 1).any(axis=0) & (dataset.outcomes == 0).any(axis=0)
    taught = tuple(task for task, known in zip(tasks.names, both, strict=True) if known)
    if not taught:
        raise LabelError(
            f'no task has both a success and a failure among the {len(dataset)} training episodes; '
            'label or collect more'
        )
    return taught

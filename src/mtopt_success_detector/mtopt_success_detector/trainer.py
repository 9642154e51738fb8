"""Trains a success detector on labelled final images (paper section V), chooses its thresholds, measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mtopt_core.augmentation import relight, shift
from mtopt_core.checkpoint import new_version, save_checkpoint
from mtopt_core.errors import CheckpointError, LabelError
from mtopt_core.precision import Precision
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.batches import BalancedBatches, drop_views
from mtopt_success_detector.dataset import Dataset, Split
from mtopt_success_detector.evaluation import Threshold, choose_threshold, measure_tasks
from mtopt_success_detector.grader import judge_episodes, load_detector
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration, SuccessDetector

OnStep = Callable[[int, float], None]
"""Told the number of gradient steps made and the loss of the last one."""


def train(
    network: SuccessDetector,
    dataset: Dataset,
    training: TrainingConfiguration,
    precision: Precision,
    on_step: OnStep = lambda _step, _loss: None,
) -> None:
    """Train a network in place by cross-entropy.

    Args:
        network: What to train; its weights are the start.
        dataset: Training episodes.
        training: How.
        precision: Where and in which arithmetic.
        on_step: Told about every step.
    """
    rng = np.random.default_rng(training.seed)
    generator = torch.Generator(precision.device).manual_seed(training.seed)
    batches = BalancedBatches(dataset.outcomes, dataset.own_skill, rng)
    margin = round(training.shift * network.configuration.image_size)
    network.to(precision.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), training.learning_rate, weight_decay=training.l2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, training.steps, pct_start=0.1, cycle_momentum=False
    )
    for step in range(training.steps):
        rows, weights = batches.draw(training.batch)
        present = torch.from_numpy(drop_views(dataset.present[rows], training.view_dropout, rng))
        images = torch.from_numpy(shift(dataset.images(rows), margin, rng)).permute(0, 1, 4, 2, 3)
        images = relight(precision.floats(images), training.brightness, training.contrast, generator)
        with precision.autocast():
            logits = network(images, present.to(precision.device))
        outcomes = torch.from_numpy(np.nan_to_num(dataset.outcomes[rows])).to(precision.device)
        loss = functional.binary_cross_entropy_with_logits(
            logits.float(), outcomes, torch.from_numpy(weights).to(precision.device), reduction='sum'
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(step + 1, loss.item())
    network.eval()


def train_detector(
    dataset: Dataset,
    tasks: TaskSet,
    sources: Sequence[str],
    configuration: DetectorConfiguration,
    training: TrainingConfiguration,
    folder: Path,
    start: Path | None = None,
    on_step: OnStep = lambda _step, _loss: None,
) -> tuple[Path, DetectorManifest]:
    """Train a detector, choose its thresholds on validation episodes, measure it on test episodes, save it.

    Args:
        dataset: Labelled episodes of all splits.
        tasks: The tasks to judge.
        sources: Whose outcomes the dataset holds; kept in the manifest.
        configuration: Which network.
        training: How.
        folder: Folder of the checkpoints.
        start: Checkpoint to go on from.
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
        network, before = load_detector(start, tasks)
        started_from = before.version
        if before.network != configuration:
            raise CheckpointError(
                f'checkpoint {start} is of another network: {before.network!r}, not {configuration!r}'
            )
    precision = Precision.of_this_machine()
    train(network, learning, training, precision, on_step)

    validation, test = dataset.of(Split.VALIDATION), dataset.of(Split.TEST)
    probabilities = judge_episodes(network, dataset.final_images, validation.episode_ids, precision)
    thresholds: dict[str, Threshold] = {}
    for task in taught:
        t = tasks.index(task)
        mine = validation.own_skill[:, t]
        thresholds[task] = choose_threshold(
            probabilities[mine, t], validation.outcomes[mine, t], training.false_positive_rate
        )
    manifest = DetectorManifest(
        version=new_version(training.steps),
        tasks=tasks.names,
        skills=tuple(task.skill for task in tasks.tasks),
        outcome_sources=tuple(sources),
        network=configuration,
        training=training,
        started_from=started_from,
        episodes={split.name.lower(): int((dataset.splits == split).sum()) for split in Split},
        thresholds=thresholds,
        held_out=measure_tasks(
            tasks.names,
            judge_episodes(network, dataset.final_images, test.episode_ids, precision),
            test.outcomes,
            test.own_skill,
            thresholds,
        ),
    )
    return save_checkpoint(folder, network.state_dict(), manifest), manifest


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

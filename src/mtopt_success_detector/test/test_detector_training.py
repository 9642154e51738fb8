from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from mtopt_core.checkpoint import load_manifest
from mtopt_core.episode import Verdict
from mtopt_core.errors import CheckpointError, ImageError, LabelError, UnknownTaskError
from mtopt_core.label_store import SIMULATOR
from mtopt_success_detector.dataset import Split, load_dataset
from mtopt_success_detector.evaluation import measure_tasks
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.trainer import train_detector


@pytest.fixture(scope='module')
def grader(trained, tasks) -> Grader:
    return Grader.load(trained, tasks)


def test_a_detector_tells_success_from_failure_on_held_out_episodes(world, tasks, configuration, grader):
    held_out = load_dataset(world.data, tasks, [SIMULATOR], configuration).of(Split.TEST)
    probabilities = grader.probabilities(held_out.final_images, held_out.episode_ids)
    metrics = measure_tasks(
        tasks.names, probabilities, held_out.outcomes, held_out.own_skill, grader.manifest.thresholds
    )
    assert tuple(metrics) == world.JUDGED
    assert min(figures.auc for figures in metrics.values()) > 0.97
    assert metrics == grader.manifest.held_out


def test_any_subset_of_the_views_will_do(grader, world):
    rng = np.random.default_rng(5)
    right = []
    for _ in range(60):
        jpegs, truth = world.draw('lift', rng)
        for views in (['main'], ['side_left'], ['side_right', 'main']):
            (outcome,) = grader.grade({view: jpegs[view] for view in views}, ['lift-any'])
            right.append((outcome.verdict == Verdict.SUCCESS) == truth['lift-any'])
    assert np.mean(right) > 0.9


def test_every_task_is_graded_and_those_never_taught_are_unsure(grader, tasks, world):
    jpegs, _ = world.draw('lift', np.random.default_rng(0))
    outcomes = grader.grade(jpegs)
    assert tuple(outcome.task for outcome in outcomes) == tasks.names
    for outcome in outcomes:
        assert (outcome.verdict == Verdict.UNSURE) == (outcome.task not in world.JUDGED)


def test_images_that_cannot_be_judged_are_refused_by_name(grader, world):
    jpegs, _ = world.draw('lift', np.random.default_rng(0))
    with pytest.raises(ImageError, match=r'camera side_left: .* JPEG'):
        grader.grade({**jpegs, 'side_left': jpegs['side_left'][:100]})
    with pytest.raises(ImageError, match=r'main or side_left or side_right .* got those of wrist'):
        grader.grade({'wrist': jpegs['main']})
    with pytest.raises(UnknownTaskError, match='fold-cloth'):
        grader.grade(jpegs, ['fold-cloth'])


def test_training_goes_on_from_a_checkpoint(world, tasks, configuration, trained, tmp_path):
    dataset = load_dataset(world.data, tasks, [SIMULATOR], configuration)
    training = TrainingConfiguration(steps=2, batch=16, learning_rate=1e-6)
    path, manifest = train_detector(dataset, tasks, [SIMULATOR], configuration, training, tmp_path, start=trained)
    assert manifest.started_from == trained.name
    assert min(figures.auc for figures in manifest.held_out.values()) > 0.97
    assert load_manifest(path, DetectorManifest).outcome_sources == (SIMULATOR,)


def test_a_checkpoint_says_what_it_is(trained):
    manifest = load_manifest(trained, DetectorManifest)
    assert manifest.training.steps == 150
    assert manifest.episodes['train'] > 350
    assert sum(manifest.episodes.values()) == 500
    assert all(threshold.chosen for threshold in manifest.thresholds.values())


def test_a_damaged_or_foreign_checkpoint_is_refused(trained, tasks, tmp_path):
    damaged = tmp_path / 'damaged'
    shutil.copytree(trained, damaged)
    weights = bytearray((damaged / 'weights.safetensors').read_bytes())
    weights[-1] ^= 1
    (damaged / 'weights.safetensors').write_bytes(weights)
    with pytest.raises(CheckpointError, match='sha256'):
        Grader.load(damaged, tasks)

    foreign = tmp_path / 'foreign'
    shutil.copytree(trained, foreign)
    manifest = json.loads((foreign / 'manifest.json').read_text())
    manifest['network']['image_size'] = 64
    (foreign / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match='do not fit its manifest'):
        Grader.load(foreign, tasks)

    fewer = tasks.model_copy(update={'tasks': tasks.tasks[:-1]})
    with pytest.raises(CheckpointError, match='place-top-right'):
        Grader.load(trained, fewer)


def test_training_needs_a_success_and_a_failure(squares, tasks, configuration, tmp_path):
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    for number in range(10):
        squares.record(f'episode{number}', 'lift', jpegs)
    squares.label({f'episode{number}': {'lift-any': True} for number in range(10)})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    with pytest.raises(LabelError, match='both a success and a failure'):
        train_detector(dataset, tasks, [SIMULATOR], configuration, TrainingConfiguration(), tmp_path)

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from mtopt_core.checkpoint import load_manifest, newest_checkpoint
from mtopt_core.episode import Verdict
from mtopt_core.errors import CheckpointError, ImageError, LabelError, UnknownTaskError
from mtopt_core.images import encode_jpeg
from mtopt_core.label_store import SIMULATOR
from mtopt_core.precision import Precision
from mtopt_core.task_file import renamed
from mtopt_core.tasks import Task, TaskSet
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.evaluation import measure_tasks
from mtopt_success_detector.grader import Grader
from mtopt_success_detector.judging import Judge
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.network import SuccessDetector
from mtopt_success_detector.relabelling import relabel
from mtopt_success_detector.review_queue import questions
from mtopt_success_detector.splits import Split
from mtopt_success_detector.trainer import Trainer, train_detector


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


def test_what_no_image_shows_is_unsure_and_teaches_nothing(squares, tasks, configuration, tmp_path):
    truths = squares.collect(24, seed=4)
    corners = configuration.regions['place']['main']
    beside = configuration.looking_at({'place': {'side_left': corners}})
    jpegs, _ = squares.draw('place', np.random.default_rng(5))
    squares.record('blind', 'place', {'main': jpegs['main']})
    squares.label({'blind': {'place-any': True, 'lift-any': False}})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], beside)
    assert len(dataset) == len(truths) + 1
    blind = dataset.outcomes[dataset.episode_ids.index('blind')]
    assert np.isnan(blind[tasks.index('place-any')])
    assert blind[tasks.index('lift-any')] == 0
    training = TrainingConfiguration(steps=2, batch=8)
    path, _ = train_detector(dataset, tasks, [SIMULATOR], beside, training, tmp_path / 'checkpoints')
    grader = Grader.load(path, tasks)
    graded = {one.outcome.task: one.outcome for one in grader.grade({'main': jpegs['main']})}
    assert graded['place-any'].verdict == Verdict.UNSURE
    assert graded['place-any'].probability == 0.5
    assert 0 < graded['lift-any'].probability < 1
    assert graded['lift-any'].probability != 0.5
    assert relabel(squares.data, grader, dataset.final_images, ['blind'], ['place-any'], 1).unsure == 1.0
    judged, every, rng = grader.judge(dataset.final_images, ['blind']), np.ones(1, bool), np.random.default_rng(0)
    assert not list(questions(judged, tasks.index('place-any'), every, rng))
    assert list(questions(judged, tasks.index('lift-any'), every, rng))


def test_what_is_known_of_one_section_is_learned_of_the_one_it_becomes_in_a_mirror(squares, tasks, configuration):
    """Nobody judges the right section; it is where the left one is in a mirror."""
    rng, left, size = np.random.default_rng(0), {}, configuration.image_size
    for number in range(120):
        episode_id, row = f'e{number:03}', rng.choice([0.25, 0.75]) + rng.uniform(-0.1, 0.1)
        image = np.full((size, size, 3), 110, np.uint8)
        y, x = (int(share * size) for share in (row, rng.uniform(0.2, 0.8)))
        image[y - 4 : y + 4, x - 4 : x + 4] = (220, 30, 30)
        squares.record(episode_id, 'place', dict.fromkeys(configuration.views, encode_jpeg(image, 95)))
        left[episode_id] = bool(row < 0.5)  # the region is turned by a quarter
    squares.label({episode_id: {'place-top-left': solved} for episode_id, solved in left.items()})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    torch.manual_seed(0)
    network, precision = SuccessDetector(configuration), Precision(torch.device('cpu'), bfloat16=False)
    training = TrainingConfiguration(steps=60, batch=32, turn=0, mirror=0.5)
    trainer = Trainer(network, dataset, tasks, training, precision)
    for step in range(training.steps):
        trainer.step(step)
    logits = Judge(network.eval(), precision).episodes(dataset.final_images, list(left)).logits
    said_left, said_right = (logits[:, tasks.index(f'place-top-{side}')] > 0 for side in ('left', 'right'))
    truth = np.array(list(left.values()))
    assert (said_left == truth).mean() > 0.95
    assert (said_right == ~truth).mean() > 0.95


def test_any_subset_of_the_views_will_do(grader, world):
    rng = np.random.default_rng(5)
    right = []
    for _ in range(60):
        jpegs, truth = world.draw('lift', rng)
        for views in (['main'], ['side_left'], ['side_right', 'main']):
            (graded,) = grader.grade({view: jpegs[view] for view in views}, ['lift-any'])
            right.append((graded.outcome.verdict == Verdict.SUCCESS) == truth['lift-any'])
    assert np.mean(right) > 0.9


def test_every_task_is_graded_and_those_never_taught_are_unsure(grader, tasks, world):
    jpegs, _ = world.draw('lift', np.random.default_rng(0))
    outcomes = [graded.outcome for graded in grader.grade(jpegs)]
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


TRAINING = """
import sys
from pathlib import Path

import torch

from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_success_detector import trainer
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.manifest import TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration

trainer.SAVE_EVERY = 0.0
torch.set_num_threads(1)
configuration = DetectorConfiguration.small(12).model_copy(update={'image_size': 48})
dataset = load_dataset(DataFolder(Path(sys.argv[1])), load_tasks(), ['simulator'], configuration)
training = TrainingConfiguration(steps=40, batch=16)
trainer.train_detector(dataset, load_tasks(), ['simulator'], configuration, training, Path(sys.argv[2]))
"""


def test_a_training_that_is_killed_goes_on_and_ends_with_the_same_weights(world, tmp_path):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, '-c', TRAINING, str(world.data.root), str(folder)])

    assert start(whole).wait() == 0
    process = start(killed)
    while (state := newest_checkpoint(killed / '.unfinished')) is None or not state.name.endswith(('7', '8', '9')):
        assert process.poll() is None, 'it ended before it could be killed'
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert newest_checkpoint(killed) is None
    assert start(killed).wait() == 0
    assert not (killed / '.unfinished').exists()
    one, other = (load_manifest(newest_checkpoint(folder), DetectorManifest) for folder in (whole, killed))
    assert one.sha256 == other.sha256
    assert list((killed / 'tensorboard').glob('*/events*'))


def test_a_detector_grows_to_more_tasks_and_says_the_same_of_the_old_ones(
    world, tasks, configuration, trained, tmp_path
):
    more = tasks.model_copy(update={'tasks': (*tasks.tasks, Task(name='lift-cup', skill='lift', object='cup'))})
    more = TaskSet.model_validate(more.model_dump())
    wider = configuration.of_tasks(more)
    dataset = load_dataset(world.data, more, [SIMULATOR], wider)
    still = TrainingConfiguration(steps=1, batch=16, learning_rate=1e-30, l2=0)
    path, manifest = train_detector(dataset, more, [SIMULATOR], wider, still, tmp_path, start=trained)
    assert manifest.tasks == more.names
    ids = dataset.episode_ids[:50]
    before = Grader.load(trained, tasks).judge(dataset.final_images, ids).logits
    after = Grader.load(path, more).judge(dataset.final_images, ids).logits
    np.testing.assert_array_equal(after[:, :-1], before)
    narrow = load_dataset(world.data, tasks, [SIMULATOR], configuration)
    with pytest.raises(CheckpointError, match='does not extend'):
        train_detector(narrow, tasks, [SIMULATOR], configuration, still, tmp_path, start=path)


def test_a_checkpoint_says_what_it_is(trained):
    manifest = load_manifest(trained, DetectorManifest)
    assert manifest.training.steps == 150
    assert manifest.episodes['train'] > 350
    assert sum(manifest.episodes.values()) == 500
    assert all(threshold.chosen for threshold in manifest.thresholds.values())
    assert set(manifest.thresholds) == set(manifest.held_out) == set(manifest.references)
    counts = manifest.labels['train']['lift-milk']
    assert counts.successes + counts.failures == manifest.episodes['train']
    assert manifest.labels['train']['lift-banana'].successes == manifest.labels['train']['lift-banana'].failures == 0
    assert manifest.labels['train']['lift-banana'].implied > 0
    assert manifest.first_episode < manifest.last_episode
    assert all(metrics.calibration for metrics in manifest.held_out.values())


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


def test_a_detector_goes_on_under_the_names_its_tasks_have_now(trained, tasks, world):
    now = renamed(tasks, 'lift-milk', 'lift-carton')
    jpegs, _ = world.draw('lift', np.random.default_rng(0))
    before = {graded.outcome.task: graded.outcome.probability for graded in Grader.load(trained, tasks).grade(jpegs)}
    after = {graded.outcome.task: graded.outcome.probability for graded in Grader.load(trained, now).grade(jpegs)}
    before['lift-carton'] = before.pop('lift-milk')
    assert after == before
    assert Grader.load(trained, now).manifest.thresholds.keys() >= {'lift-any', 'lift-carton'}


def test_a_detector_nobody_uses_any_more_is_gone_at_once(trained, tasks, world):
    jpegs, _ = world.draw('lift', np.random.default_rng(0))
    gc.disable()
    try:
        grader = Grader.load(trained, tasks)
        grader.grade(jpegs)
        old = weakref.ref(grader._judge)
        del grader
        assert old() is None
    finally:
        gc.enable()


def test_training_needs_a_success_and_a_failure(squares, tasks, configuration, tmp_path):
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    for number in range(10):
        squares.record(f'episode{number}', 'lift', jpegs)
    squares.label({f'episode{number}': {'lift-any': True} for number in range(10)})
    dataset = load_dataset(squares.data, tasks, [SIMULATOR], configuration)
    with pytest.raises(LabelError, match='both a success and a failure'):
        train_detector(dataset, tasks, [SIMULATOR], configuration, TrainingConfiguration(), tmp_path)

"""A little world that can be judged at a glance, recorded as real bags, and a detector trained on it.

Lift: a square is in the upper half (lifted) or the lower half; red is milk, blue is something else. Place: a square is
in the lower half of the plate (bottom), its upper half, or beside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtopt_core.configuration import DETECTOR_CAMERAS, load_cell
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Outcome, Step, Verdict
from mtopt_core.episode_bag import write_episode
from mtopt_core.images import encode_jpeg
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.manifest import ThresholdRule, TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.trainer import train_detector

torch.set_num_threads(1)

SIZE = 48
STEPS = 150


class Squares:
    """The world of squares, recorded in a data folder."""

    JUDGED = ('lift-any', 'lift-milk', 'place-any', 'place-bottom')

    def __init__(self, root: Path) -> None:
        self.data = DataFolder(root)

    @staticmethod
    def draw(skill: str, rng: np.random.Generator) -> tuple[dict[str, bytes], dict[str, bool]]:
        """Return the JPEGs of the detector's cameras and the truth."""
        centre, red = rng.uniform(0.2, 0.8, 2) * SIZE, bool(rng.random() < 0.4)
        row, column = centre
        if skill == 'lift':
            lifted = bool(row < SIZE / 2)
            truth = {'lift-any': lifted, 'lift-milk': lifted and red, 'place-any': False, 'place-bottom': False}
        else:
            on_plate = bool(column > SIZE / 2)
            bottom = on_plate and bool(row > SIZE / 2)
            truth = {'lift-any': False, 'lift-milk': False, 'place-any': on_plate, 'place-bottom': bottom}
        jpegs = {}
        for number, camera in enumerate(DETECTOR_CAMERAS):
            image = rng.normal(110 + 15 * number, 8, (SIZE, SIZE, 3))
            if skill == 'place':
                image[:, SIZE // 2 :] += 60
            y, x = (centre + rng.normal(0, 1, 2)).astype(int)
            image[y - 4 : y + 4, x - 4 : x + 4] = (220, 30, 30) if red else (30, 30, 220)
            jpegs[camera] = encode_jpeg(image.clip(0, 255).astype(np.uint8), 95)
        return jpegs, truth

    def record(self, episode_id: str, skill: str, jpegs: dict[str, bytes], previous_episode_id: str = '') -> Path:
        """Write an episode of one step that ends with these images."""
        info = EpisodeInfo(
            episode_id, 'robot1', f'{skill}-any', skill, 'scripted', previous_episode_id=previous_episode_id, steps=1
        )
        first, last = observe(10**9, {}), observe(2 * 10**9, jpegs)
        return write_episode(self.data.bags, Episode(info, (Step(first, Action()),), last), load_cell())

    def collect(self, episodes: int, seed: int) -> dict[str, dict[str, bool]]:
        """Record episodes with the simulator's truth; return it by episode id."""
        rng = np.random.default_rng(seed)
        truths = {}
        for number in range(episodes):
            episode_id, skill = f'seed{seed}_{number:05d}', ('lift', 'place')[number % 2]
            jpegs, truths[episode_id] = self.draw(skill, rng)
            self.record(episode_id, skill, jpegs)
        self.label(truths)
        return truths

    def label(self, truths: dict[str, dict[str, bool]], source: str = SIMULATOR) -> None:
        outcomes = {
            episode_id: [Outcome(task, Verdict(int(solved)), float(solved)) for task, solved in truth.items()]
            for episode_id, truth in truths.items()
        }
        store = LabelStore(self.data)
        store.add_many(source, '', outcomes)
        store.close()


def observe(stamp: int, jpegs: dict[str, bytes]) -> Observation:
    return Observation(stamp, jpegs, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1)


@pytest.fixture(scope='session')
def tasks() -> TaskSet:
    return load_tasks()


@pytest.fixture(scope='session')
def configuration(tasks: TaskSet) -> DetectorConfiguration:
    """Places are judged by the picture turned by a quarter, lifts by the picture as it is."""
    turned = dict.fromkeys(DETECTOR_CAMERAS, ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)))
    small = DetectorConfiguration.small(len(tasks)).model_copy(update={'image_size': SIZE})
    return small.of_tasks(tasks).looking_at({'place': turned})


@pytest.fixture
def squares(tmp_path: Path) -> Squares:
    return Squares(tmp_path / 'data')


@pytest.fixture(scope='session')
def world(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    """Enough episodes to learn from, with the simulator's outcomes; nobody changes them."""
    world = Squares(tmp_path_factory.mktemp('world'))
    world.collect(500, seed=1)
    return world


@pytest.fixture(scope='session')
def trained(
    world: Squares, tasks: TaskSet, configuration: DetectorConfiguration, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint trained on the world."""
    dataset = load_dataset(world.data, tasks, [SIMULATOR], configuration)
    # Where a square is in the picture decides here, not what is beside it: turned, it would be something else.
    training = TrainingConfiguration(steps=STEPS, batch=32, view_dropout=0.15, turn=0, mirror=0)
    folder = tmp_path_factory.mktemp('checkpoints')
    rule = ThresholdRule(false_positive_rate=0.2)
    return train_detector(dataset, tasks, [SIMULATOR], configuration, training, folder, rule=rule)[0]

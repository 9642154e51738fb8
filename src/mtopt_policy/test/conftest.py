"""A tiny world whose best policy is known, recorded as bags.

A square lies at a random height in the image. `lift-can` succeeds when the gripper closes over a bright square,
`lift-any` over any; the first decision of an episode is a move, after which the square is bright or dark at random.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Outcome, Source, Step, Termination, Verdict
from mtopt_core.episode_bag import write_episode
from mtopt_core.images import encode_jpeg
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.training import Training, TrainingOptions

torch.set_num_threads(1)

CELL = CellConfiguration()
SECOND = 1_000_000_000


def observation(stamp: int, image: np.ndarray, cameras: tuple[str, ...], closed: bool) -> Observation:
    jpeg = encode_jpeg(image, 95)
    return Observation(
        stamp=stamp,
        images=dict.fromkeys(cameras, jpeg),
        joint_positions=np.zeros(7),
        tip_position=np.array([0.5, 0.0, 0.1]),
        yaw=0.3,
        gripper_closed=closed,
        gripper_width=0.0 if closed else 0.08,
        height_to_bottom=0.1,
    )


def picture(rng: np.random.Generator, bright: bool) -> np.ndarray:
    image = rng.integers(90, 110, (64, 64, 3)).astype(np.uint8)
    row = rng.integers(8, 40)
    image[row : row + 16, 24:40] = 230 if bright else 20
    return image


@dataclass
class Recorded:
    """What `record` wrote.

    Attributes:
        data: The data folder.
        bright: Whether the gripper closed over a bright square, by episode id.
    """

    data: DataFolder
    bright: dict[str, bool] = field(default_factory=dict)


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Recorded]:
    """Return a function that adds episodes of the tiny world to a data folder, labelled by the simulator."""
    recorded = Recorded(DataFolder(tmp_path / 'data'))

    def add(
        count: int,
        task: str = 'lift-can',
        skill: str = 'lift',
        cameras: tuple[str, ...] = ('main', 'wrist'),
        termination: Termination = Termination.SCRIPTED_ENDING,
        moves: int = 1,
        reshape: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> Recorded:
        rng = np.random.default_rng(len(recorded.bright))
        outcomes = {}
        for _ in range(count):
            episode_id = f'episode_{len(recorded.bright):05d}'
            bright = bool(rng.random() < 0.5)
            images = [picture(rng, bool(rng.random() < 0.5)) for _ in range(moves)] + [picture(rng, bright)] * 2
            actions = [Action(rng.uniform(-0.1, 0.1, 3)) for _ in range(moves)]
            actions += [
                Action(close_gripper=True),
                Action(np.array([0, 0, 0.1]), source=Source.ENDING),
                Action(terminate=True, source=Source.ENDING),
            ]
            seen = [
                observation((number + 1) * SECOND, reshape(image), cameras, closed=number > moves)
                for number, image in enumerate([*images, images[-1]])
            ]
            steps = tuple(Step(o, a) for o, a in zip(seen, actions, strict=True))
            info = EpisodeInfo(
                episode_id, 'robot', task, skill, 'scripted', simulated=True, steps=len(steps), termination=termination
            )
            write_episode(recorded.data.bags, Episode(info, steps, seen[-1]), CELL)
            recorded.bright[episode_id] = bright
            verdicts = {'lift-any': Verdict.SUCCESS, 'lift-can': Verdict(bright), 'lift-milk': Verdict.FAILURE}
            outcomes[episode_id] = [Outcome(name, verdict, float(verdict)) for name, verdict in verdicts.items()]
        store = LabelStore(recorded.data)
        store.add_many('simulator', '', outcomes)
        store.close()
        return recorded

    return add


QUICK = ('batch=24', 'optimizer.cooldown=0', 'targets.averaging=0.05', 'targets.lag=10', 'targets.cem_samples=16')


class Notes:
    """What a training told."""

    def __init__(self):
        self.losses, self.exported_steps = [], []

    def stepped(self, step, interval):
        self.losses.append(interval.loss)

    def exported(self, path, manifest):
        self.exported_steps.append(manifest.training.steps)


@pytest.fixture
def training() -> Callable[..., Training]:
    """Return a function that sets up a quick training on recorded data, which it has read."""

    def made(data: DataFolder, out: Path, overrides: tuple[str, ...] = (), **changes) -> Training:
        options = {'sources': ('simulator',), 'tasks': load_tasks(), 'cell': CELL} | changes
        one = Training(TrainingOptions(data=data, out=out, overrides=(*QUICK, *overrides), **options))
        one.read()
        return one

    return made


@pytest.fixture
def run() -> Callable[..., Notes]:
    """Return a function that makes the gradient steps of a training up to some number, and returns what it told."""

    def ran(made: Training, steps: int, stop: threading.Event | None = None) -> Notes:
        notes = Notes()
        made.run(steps, stop or threading.Event(), notes)
        return notes

    return ran

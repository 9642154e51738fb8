from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtopt_core.checkpoint import CheckpointWatch, Manifest, load_checkpoint, save_checkpoint
from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Observation, Source
from mtopt_core.errors import CheckpointError, ConfigurationError, ImageError, UnknownTaskError
from mtopt_core.images import encode_jpeg
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.policies import MixturePolicy, choose_policy
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration
from mtopt_policy.q_policy import QFunctionPolicy
from mtopt_policy.scripted import ScriptedPolicy

torch.set_num_threads(1)
TASKS = load_tasks()
EASED = ActionSpace.eased(StepConfiguration())
JPEG = encode_jpeg(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8), 95)


def observe(height: float = 0.2, closed: bool = False, **images: bytes) -> Observation:
    images = images or {'main': JPEG, 'wrist': JPEG}
    return Observation(5, images, np.zeros(7), np.array([0.5, -0.17, height]), 0.4, closed, 0.08, height)


def manifest(version: str, tasks: TaskSet = TASKS) -> PolicyManifest:
    return PolicyManifest(
        version=version,
        tasks=tasks.names,
        skills=tuple(task.skill for task in tasks.tasks),
        network=QNetworkConfiguration.small(len(tasks)),
        action_space=EASED,
    )


class Favouring:
    """A Q-function whose favourite action is known; stands for a trained network."""

    def __init__(self, favourite: np.ndarray, weight: float = 1.0) -> None:
        self.favourite, self.weight = torch.from_numpy(favourite).float(), weight
        self.looks = 0

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape == (1, 2, 3, 64, 64)
        assert images.min() >= 0
        assert images.max() <= 1
        self.looks += 1
        return torch.zeros(1, 1)

    def head(self, features, actions, state, task) -> torch.Tensor:
        return -self.weight * (actions - self.favourite).norm(dim=-1)


def test_it_takes_the_action_of_highest_q_in_the_base_frame():
    favourite = np.array([0.3, -0.5, -0.4, np.sin(0.2), np.cos(0.2), 0, 0, 0])
    policy = QFunctionPolicy(Favouring(favourite), manifest('v1'), TASKS)
    policy.begin('lift-can', 0)
    seen = observe()
    action = policy.act(seen)
    assert action.source == Source.LEARNED
    assert not action.close_gripper
    assert np.linalg.norm(EASED.encode(action, seen)[:3] - favourite[:3]) < 0.4
    assert 0 < action.q_value < 0.5


def test_the_image_is_looked_at_once_per_decision():
    backend = Favouring(np.zeros(8))
    policy = QFunctionPolicy(backend, manifest('v1'), TASKS)
    policy.begin('lift-can', 0)
    policy.act(observe())
    assert backend.looks == 1


def test_after_the_finishing_choice_the_scripted_ending_runs():
    close = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    policy = QFunctionPolicy(Favouring(close, 5.0), manifest('v1'), TASKS)
    policy.begin('lift-can', 0)
    actions = [policy.act(observe()) for _ in range(4)]
    assert actions[0].close_gripper
    assert actions[0].displacement.tolist() == [0, 0, 0]
    assert [action.source for action in actions[1:]] == [Source.ENDING] * 3
    assert actions[3].terminate
    policy.begin('lift-can', 1)
    assert policy.act(observe()).source == Source.LEARNED


def test_exploration_takes_random_moves_and_never_finishes():
    close = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    policy = QFunctionPolicy(Favouring(close, 5.0), manifest('v1'), TASKS, exploration=1.0)
    policy.begin('lift-can', 0)
    actions = [policy.act(observe()) for _ in range(30)]
    assert not any(action.close_gripper for action in actions)
    assert np.std([action.displacement for action in actions], axis=0).min() > 0.02


def test_the_same_seed_gives_the_same_action():
    policy = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    displacements = []
    for seed in (1, 1, 2):
        policy.begin('lift-can', seed)
        displacements.append(policy.act(observe()).displacement)
    assert np.array_equal(displacements[0], displacements[1])
    assert not np.array_equal(displacements[0], displacements[2])


def test_a_q_that_is_not_a_number_is_an_error_that_names_the_checkpoint():
    policy = QFunctionPolicy(Favouring(np.full(8, np.nan)), manifest('v1'), TASKS)
    policy.begin('lift-can', 0)
    with pytest.raises(CheckpointError, match='policy v1: Q is nan'):
        policy.act(observe())


def test_a_missing_view_is_named():
    policy = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    policy.begin('lift-can', 0)
    with pytest.raises(ImageError, match='no wrist'):
        policy.act(observe(main=JPEG))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    weights = QNetwork(QNetworkConfiguration.small(len(TASKS))).state_dict()
    return save_checkpoint(tmp_path_factory.mktemp('policy'), weights, manifest('v1'))


def test_a_saved_checkpoint_acts(checkpoint):
    policy = QFunctionPolicy.load(checkpoint, TASKS)
    assert (policy.name, policy.model_version, policy.views) == ('learned', 'v1', ('main', 'wrist'))
    policy.begin('place-any', 0)
    action = policy.act(observe(closed=True))
    assert not action.close_gripper
    assert 0 < action.q_value < 1


def test_a_checkpoint_for_other_tasks_is_refused_and_both_lists_are_named(checkpoint):
    fewer = TASKS.model_copy(update={'tasks': TASKS.tasks[:3]})
    with pytest.raises(CheckpointError) as error:
        QFunctionPolicy.load(checkpoint, fewer)
    assert 'place-top-right (place)' in str(error.value)
    assert 'this cell has lift-any (lift), lift-milk (lift), lift-banana (lift);' in str(error.value)


def test_a_checkpoint_whose_task_moved_to_another_skill_is_refused(checkpoint):
    moved = TASKS.tasks[0].model_copy(update={'skill': 'place'})
    with pytest.raises(CheckpointError, match=r'this cell has lift-any \(place\)'):
        QFunctionPolicy.load(checkpoint, TASKS.model_copy(update={'tasks': (moved, *TASKS.tasks[1:])}))


def test_changed_weights_are_refused(tmp_path):
    weights = QNetwork(QNetworkConfiguration.small(len(TASKS))).state_dict()
    path = save_checkpoint(tmp_path, weights, manifest('v1'))
    file = path / 'weights.safetensors'
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match='sha256'):
        QFunctionPolicy.load(path, TASKS)


def test_weights_of_another_network_are_refused(tmp_path):
    path = save_checkpoint(tmp_path, {'towers.0.bias': torch.zeros(3)}, manifest('v1'))
    with pytest.raises(CheckpointError, match='not of the network it names'):
        QFunctionPolicy.load(path, TASKS)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    other = Manifest(kind='success_detector', version='v1', tasks=TASKS.names, skills=())
    path = save_checkpoint(tmp_path, {'weight': torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match='PolicyManifest'):
        QFunctionPolicy.load(path, TASKS)


def test_the_watch_loads_what_is_newer_and_keeps_the_old_one_when_it_does_not_fit(tmp_path):
    def load(path: Path) -> QFunctionPolicy:
        _, loaded = load_checkpoint(path, PolicyManifest)
        loaded.require_fit(TASKS)
        return QFunctionPolicy(Favouring(np.zeros(8)), loaded, TASKS)

    watch = CheckpointWatch(tmp_path, load)
    assert watch.refresh() is None
    save_checkpoint(tmp_path, {}, manifest('v1'))
    assert watch.refresh().model_version == 'v1'
    assert watch.refresh() is None
    fewer = TASKS.model_copy(update={'tasks': TASKS.tasks[:3]})
    save_checkpoint(tmp_path, {}, manifest('v2', fewer))
    with pytest.raises(CheckpointError, match='v2'):
        watch.refresh()
    assert watch.current.model_version == 'v1'
    assert watch.refresh() is None
    save_checkpoint(tmp_path, {}, manifest('v3'))
    assert watch.refresh().model_version == 'v3'


def test_a_mixture_draws_per_episode_and_says_who_runs():
    scripted = ScriptedPolicy(TASKS, EASED)
    learned = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    mixture = choose_policy('mixture', scripted, learned, scripted_share=0.3)
    assert isinstance(mixture, MixturePolicy)
    drawn = []
    for seed in range(200):
        mixture.begin('lift-any', seed)
        drawn.append(mixture.name)
        assert mixture.views == (() if mixture.name == 'scripted' else ('main', 'wrist'))
        assert mixture.act(observe()).source == (Source.SCRIPTED if mixture.name == 'scripted' else Source.LEARNED)
    assert 0.2 < drawn.count('scripted') / 200 < 0.4


def test_a_learned_policy_without_a_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match='needs a checkpoint'):
        choose_policy('learned', ScriptedPolicy(TASKS, EASED), None, 0.5)


def test_a_watcher_is_told_everything_cem_tries_and_changes_nothing():
    policy = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    policy.begin('lift-can', seed=3)
    unwatched = policy.act(observe())
    tried = []
    policy.watcher = lambda actions, logits: tried.append((actions, logits))
    policy.begin('lift-can', seed=3)
    action = policy.act(observe())
    assert action.q_value == unwatched.q_value
    assert [actions.shape for actions, _ in tried] == [(1, 64, 8)] * 2
    assert float(tried[-1][1].max().sigmoid()) == pytest.approx(action.q_value)


def test_another_task_s_policy_acts_as_for_its_own_task_and_says_whose_it_is():
    learned = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    learned.begin('lift-any', seed=3)
    own = learned.act(observe())
    other = choose_policy('learned:lift-any', ScriptedPolicy(TASKS, EASED), learned, 0.5, TASKS)
    other.begin('lift-carrot', seed=3)
    assert (other.name, other.model_version, other.views) == ('learned:lift-any', 'v1', ('main', 'wrist'))
    action = other.act(observe())
    assert action.q_value == own.q_value
    np.testing.assert_array_equal(action.displacement, own.displacement)


@pytest.mark.parametrize(
    ('name', 'error', 'named'),
    [
        ('learned:lift-piano', UnknownTaskError, 'lift-piano'),
        ('learned:', ConfigurationError, 'unknown policy'),
        ('scripted:lift-any', ConfigurationError, 'unknown policy'),
        ('learned:place-any', ConfigurationError, 'same skill'),
    ],
)
def test_a_policy_that_cannot_act_for_a_task_is_refused_by_name(name, error, named):
    learned = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    with pytest.raises(error, match=named):
        choose_policy(name, ScriptedPolicy(TASKS, EASED), learned, 0.5, TASKS).begin('lift-can', 0)


def test_explorers_of_one_policy_do_not_disturb_each_other():
    learned = QFunctionPolicy(Favouring(np.zeros(8)), manifest('v1'), TASKS)
    bold, careful = learned.explorer(1.0), learned.explorer(0.0)
    bold.begin('lift-can', seed=3)
    careful.begin('place-any', seed=4)
    assert np.isnan(bold.act(observe()).q_value), 'a random move'
    assert np.isfinite(careful.act(observe(closed=True)).q_value)

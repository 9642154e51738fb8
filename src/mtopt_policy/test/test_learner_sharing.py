"""Conservative data sharing: an episode goes where its Q is among the best of what a task has itself."""

import threading

import numpy as np
import pytest
import torch

from mtopt_core.configuration import CellConfiguration, StepConfiguration
from mtopt_core.precision import Precision
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.learner import data_sharing
from mtopt_policy.learner.batches import FILL
from mtopt_policy.learner.configuration import SharingConfiguration
from mtopt_policy.learner.data_sharing import DataSharing
from mtopt_policy.learner.impersonation import Impersonation, LoggedEpisodes
from mtopt_policy.learner.last_decisions import last_decisions_q
from mtopt_policy.learner.log_replay import LogReplay
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.learner.transitions import StoreLayout
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

TASKS = load_tasks()
LIFT_CAN, LIFT_MILK, LIFT_ANY = (TASKS.index(name) for name in ('lift-can', 'lift-milk', 'lift-any'))
FLOAT32 = Precision(torch.device('cpu'), bfloat16=False)
EPISODES = 12


@pytest.fixture
def store(record):
    layout = StoreLayout(views=('main', 'wrist'), image_size=64, action_space=ActionSpace.eased(StepConfiguration()))
    replay = LogReplay(record(EPISODES, moves=2).data, TASKS, ('simulator',), layout)
    replay.read()
    return replay.store


def logged(tasks: list[int]) -> LoggedEpisodes:
    return LoggedEpisodes(np.arange(len(tasks)), np.array(tasks), np.zeros((len(tasks), len(TASKS)), np.int8))


@pytest.fixture
def known_q(monkeypatch) -> np.ndarray:
    """Return the table from which `DataSharing` takes Q instead of a network."""
    table = np.zeros((EPISODES, len(TASKS)), np.float32)
    monkeypatch.setattr(data_sharing, 'last_decisions_q', lambda *arguments: table[arguments[3]])
    return table


def test_a_task_gains_from_episodes_that_are_worth_as_much_as_its_own_best(store, known_q):
    known_q[:, LIFT_CAN] = [0, 1, 2, 3, 4, 5, 6, 7, -9, 4.9, 5, 9]
    sharing = DataSharing(SharingConfiguration(quantile=5 / 7), store, len(TASKS))
    episodes = logged([LIFT_CAN] * 8 + [LIFT_MILK] * 4)
    sharing.judge(episodes.places, None, FLOAT32, 500)
    gains = sharing.gains(episodes)[:, LIFT_CAN]
    assert gains[8:].tolist() == [False, False, True, True]


def test_a_task_without_episodes_of_its_own_gains_from_none(store, known_q):
    sharing = DataSharing(SharingConfiguration(), store, len(TASKS))
    episodes = logged([LIFT_CAN] * EPISODES)
    sharing.judge(episodes.places, None, FLOAT32, 500)
    assert not sharing.gains(episodes)[:, LIFT_MILK].any()


def test_before_q_is_asked_no_task_gains_from_anything(store):
    sharing = DataSharing(SharingConfiguration(), store, len(TASKS))
    assert not sharing.gains(logged([LIFT_CAN] * EPISODES)).any()


def test_the_episodes_judged_at_a_time_are_few_and_each_gets_its_turn(store, monkeypatch):
    turns = []

    def note(*arguments):
        turns.append(arguments[3].tolist())
        return np.zeros(arguments[4].shape, np.float32)

    monkeypatch.setattr(data_sharing, 'last_decisions_q', note)
    sharing = DataSharing(SharingConfiguration(episodes=5), store, len(TASKS))
    for step in (500, 1000, 1500):
        sharing.judge(np.arange(EPISODES), None, FLOAT32, step)
    assert turns == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [0, 1, 2, 10, 11]]


def test_q_of_last_decisions_is_the_networks_for_every_task_asked_for(store, monkeypatch):
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(len(TASKS))).eval()
    passed, tower = [], network.tower
    monkeypatch.setattr(network, 'tower', lambda images: passed.append(len(images)) or tower(images))
    wanted = np.random.default_rng(0).random((3, len(TASKS))) < 0.5
    places = np.array([2, 5, 11])
    found = last_decisions_q(network, FLOAT32, store, places, wanted)
    assert passed == [FILL], 'each image once, and the last to fill up'
    monkeypatch.undo()
    assert np.isfinite(found).tolist() == wanted.tolist()
    for number, place in enumerate(places):
        row = np.array([store.rows_of(place)[-1]])
        images = torch.from_numpy(store.images(row)).permute(1, 0, 4, 2, 3)
        record = store.records(row)
        for task in np.flatnonzero(wanted[number]):
            one_hot = torch.from_numpy(TASKS.one_hot(TASKS.names[task]))[None]
            action, state = torch.from_numpy(record['action']), torch.from_numpy(record['state'])
            expected = network(FLOAT32.floats(images), action, state, one_hot)
            assert found[number, task] == pytest.approx(expected.item(), abs=1e-4)


def test_by_gain_a_training_shares_nothing_at_first_and_what_q_says_later(record, tmp_path):
    record(20)
    data = record(20, task='lift-milk').data
    sizes = {}
    for strategy in (Impersonation.NONE, Impersonation.GAIN, Impersonation.ALL):
        options = TrainingOptions(
            data=data,
            out=tmp_path / strategy,
            tasks=TASKS,
            cell=CellConfiguration(),
            overrides=('batch=8', 'sharing.every=4', 'sharing.quantile=0.3'),
            impersonation=strategy,
            sources=('simulator',),
        )
        made = Training(options)
        made.read()
        sizes[strategy] = [made.learner.buffers.sizes]
        made.run(6, threading.Event(), Silent())
        sizes[strategy].append(made.learner.buffers.sizes)
    none, gain, every = (
        np.array(sizes[strategy]) for strategy in (Impersonation.NONE, Impersonation.GAIN, Impersonation.ALL)
    )
    np.testing.assert_array_equal(gain[0], none[0])
    assert (gain[1] >= none[1]).all(), 'its own episodes count always'
    assert (gain[1] <= every[1]).all()
    assert gain[1].sum() > none[1].sum()
    assert gain[1][LIFT_ANY].sum() == 0, 'it has no episode of its own'


class Silent:
    """Takes note of nothing."""

    def stepped(self, step, interval):
        pass

    def exported(self, path, manifest):
        pass

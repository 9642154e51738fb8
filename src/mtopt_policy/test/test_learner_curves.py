"""What TensorBoard shows of a training."""

import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtopt_core.configuration import CellConfiguration
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.batches import Batch, Examples, States
from mtopt_policy.learner.monitor import Monitor
from mtopt_policy.learner.stopwatch import BATCH, LABELLING, LOADING, TRAINING, UNLABELLED
from mtopt_policy.learner.trainer import StepResult
from mtopt_policy.learner.training import Training, TrainingOptions

TASKS = load_tasks()


class Silent:
    """Takes note of nothing."""

    def stepped(self, step, interval):
        pass

    def exported(self, path, manifest):
        pass


@pytest.fixture
def made(record, tmp_path) -> Training:
    overrides = ('batch=12', 'targets.uses=2', 'targets.age_limit=6')
    made = Training(
        TrainingOptions(
            data=record(20).data,
            out=tmp_path / 'out',
            tasks=TASKS,
            cell=CellConfiguration(),
            overrides=overrides,
            sources=('simulator',),
        )
    )
    made.read()
    return made


def curves(folder) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [point.value for point in events.Scalars(tag)] for tag in events.Tags()['scalars']}


def test_a_training_shows_loss_q_sizes_ages_and_where_its_time_goes(made, monkeypatch):
    monkeypatch.setattr('mtopt_policy.learner.training.INTERVAL', 5)
    made.run(20, threading.Event(), Silent())
    found = curves(made.folder.tensorboard)
    assert {'loss', 'TD error', 'Q/lift-can/successes', 'Q/lift-can/failures', 'steps per second'} <= found.keys()
    assert len(found['loss']) == 4
    for task, sizes in zip(TASKS.names, made.learner.buffers.sizes, strict=True):
        assert found[f'episodes/{task}/failures'] == [sizes[0]] * 4
        assert found[f'episodes/{task}/successes'] == [sizes[1]] * 4
    # At steps 5, 10, 15 and 20 the labels are of the last three even steps.
    assert found['train buffer/transitions'] == [36] * 4
    assert found['train buffer/age of labels, steps'] == [3, 4, 3, 4]
    shares = {part: found[f'time/{part}'] for part in (LOADING, LABELLING, UNLABELLED, TRAINING, BATCH)}
    for part, values in shares.items():
        assert all(0 <= value <= 1.01 for value in values), part
    one_thread = np.sum([shares[part] for part in (LABELLING, UNLABELLED, TRAINING, BATCH)], axis=0)
    assert (one_thread > 0.5).all()
    assert (one_thread <= 1.01).all()


def test_the_age_of_episodes_is_the_time_since_they_were_recorded(made):
    batch, _ = made.learner.step()
    assert 'train buffer/age of episodes, hours' not in made.learner.figures(batch, 1.0), 'their ids tell no time'
    index, stamp = made.store.index, datetime.now(UTC) - timedelta(hours=3)
    index.ids = np.array([f'{stamp:%Y%m%dT%H%M%S}_robot_{number}'.encode() for number in range(len(index))])
    figures = made.learner.figures(batch, 1.0)
    assert figures['train buffer/age of episodes, hours'] == pytest.approx(3, abs=0.01)
    made.learner.close()


def test_the_td_error_is_the_mean_distance_of_q_from_its_target(tmp_path):
    batch = Batch(
        states=States(torch.zeros(1), torch.zeros(1)),
        actions=torch.zeros(1),
        examples=Examples(np.zeros(2, int), np.array([0, 1]), len(TASKS)),
        successes=np.array([True, False]),
        targets=np.array([0.5, 1.0], np.float32),
        weights=np.array([0.5, 0.5], np.float32),
        rows=np.zeros(1, int),
    )
    monitor = Monitor(tmp_path, TASKS.names, 0)
    monitor.record(batch, StepResult(0.7, np.array([0.4, 0.7])))
    monitor.record(batch, StepResult(0.7, np.array([0.5, 1.0])))
    assert monitor.write(2, np.zeros((len(TASKS), 2), int), {}).td_error == pytest.approx(0.1)
    monitor.close()
    assert curves(tmp_path)['TD error'] == pytest.approx([0.1])

"""A training and what is wrong with its data, disk, state or configuration: clear errors, nothing good is lost."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from mtopt_core.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from mtopt_core.errors import CheckpointError, ConfigurationError
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_policy.learner.configuration import load_trainer
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.trainer import TrainingError
from mtopt_policy.manifest import PolicyManifest

TASKS = load_tasks()


def test_without_bags_the_error_says_so(record, tmp_path, training, run):
    made = training(record(0).data, tmp_path / 'out')
    with pytest.raises(TrainingError, match=r'holds no episode to learn from \(no bags\)'):
        run(made, 1)


def test_without_outcomes_the_error_names_the_sources_and_the_way_out(record, tmp_path, training, run):
    made = training(record(3).data, tmp_path / 'out', sources=('human', 'detector'))
    with pytest.raises(TrainingError, match=r'no outcome is known.*human, detector.*--outcomes simulator'):
        run(made, 1)


def test_without_any_success_there_is_nothing_to_learn(record, tmp_path, training, run):
    made = training(record(3, task='lift-milk').data, tmp_path / 'out', impersonation=Impersonation.NONE)
    with pytest.raises(TrainingError, match=r'none of the 3 episodes .* is a success for any task'):
        run(made, 1)


def test_without_a_success_of_the_tasks_to_learn_the_error_names_them(record, tmp_path, training, run):
    made = training(record(3).data, tmp_path / 'out', learn=('lift-milk', 'place-any'))
    with pytest.raises(TrainingError, match=r'none of the 3 episodes .* is a success for lift-milk, place-any'):
        run(made, 1)


def test_a_training_whose_data_vanish_says_so(record, tmp_path, training, run):
    data = record(5).data
    made = training(data, tmp_path / 'out', refresh_seconds=0.0)
    shutil.rmtree(data.bags)
    with pytest.raises(TrainingError, match=r'holds no episode to learn from \(5: its bag is gone\)'):
        run(made, 5)


@contextmanager
def files_up_to(limit: int) -> Iterator[None]:
    """Have the system refuse to write files beyond a size, as it refuses all on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('limit', [100_000, 1_000_000], ids=['for the policy', 'for the state beside it'])
def test_a_disk_without_room_is_an_error_and_leaves_the_exports_before_unharmed(record, tmp_path, limit, training, run):
    data = record(10).data
    made = training(data, tmp_path / 'out')
    run(made, 2)
    good, state = newest_checkpoint(made.folder.policies), made.learner.state()
    again = training(data, tmp_path / 'out')
    with (
        files_up_to(limit),
        pytest.raises(CheckpointError, match=r'/out/.* cannot be saved: File too large; make room'),
    ):
        run(again, 4)
    load_checkpoint(good, PolicyManifest)
    assert not list((tmp_path / 'out').rglob('*.partial'))
    resumed = training(data, tmp_path / 'out')
    torch.testing.assert_close(resumed.learner.state(), state, rtol=0, atol=0, equal_nan=True)
    assert run(resumed, 4).exported_steps == [4]


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_without_room_for_the_curves_the_training_says_so(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 2)
    again = training(data, tmp_path / 'out')
    with (
        files_up_to(50),
        pytest.raises(TrainingError, match=r'File too large; make room where .*/out and .*/data are'),
    ):
        run(again, 4)
    assert training(data, tmp_path / 'out').step == 2


def test_without_room_for_transitions_the_training_says_so_and_reads_them_later(record, tmp_path, training, run):
    made = training(record(10).data, tmp_path / 'out')
    record(10)
    size = max(path.stat().st_size for path in made.store.folder.rglob('images'))
    with files_up_to(size), pytest.raises(TrainingError, match='File too large; make room'):
        made.read()
    made.read()
    assert len(made.store.index) == 20
    assert run(made, 1).exported_steps == [1]


def test_a_loss_that_is_not_finite_stops_and_leaves_all_weights_as_they_were(record, tmp_path, training, run):
    data = record(10).data
    made = training(data, tmp_path / 'out')
    run(made, 2)
    good = newest_checkpoint(made.folder.policies)
    poisoned = training(data, tmp_path / 'out')
    with torch.no_grad():
        next(iter(poisoned.learner.targets.averaged.parameters())).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r'not finite at step \d+; checkpoints are as they were'):
        run(poisoned, 20)
    assert newest_checkpoint(made.folder.policies) == good
    online = poisoned.learner.trainer.state()
    assert all(tensor.isfinite().all() for key, tensor in online.items() if key.startswith('online.'))


def test_a_state_of_other_tasks_is_refused(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    fewer = TaskSet(skills=TASKS.skills, tasks=TASKS.tasks[:-1])
    with pytest.raises(CheckpointError, match='was trained for tasks'):
        training(data, tmp_path / 'out', tasks=fewer)


def test_a_policy_of_another_action_space_is_refused(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    with pytest.raises(CheckpointError, match='has the action space'):
        training(data, tmp_path / 'full', setting='full', start=newest_checkpoint(tmp_path / 'out' / 'policy'))


def test_a_state_of_another_network_is_refused(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    before = sorted((tmp_path / 'out').rglob('*'))
    with pytest.raises(CheckpointError, match=r'has the network .* asked for is'):
        training(data, tmp_path / 'out', overrides=('network=paper',))
    assert sorted((tmp_path / 'out').rglob('*')) == before


def test_a_state_of_another_optimiser_is_refused(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    with pytest.raises(CheckpointError, match='was trained with optimizer adam; go on with it'):
        training(data, tmp_path / 'out', overrides=('optimizer.method=momentum',))


def test_a_policy_whose_weights_are_not_what_its_manifest_says_is_refused(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    weights, manifest = load_checkpoint(newest_checkpoint(tmp_path / 'out' / 'policy'), PolicyManifest)
    weights.pop(next(iter(weights)))
    save_checkpoint(tmp_path / 'other', weights, manifest)
    with pytest.raises(
        CheckpointError, match=r'/other/.* has other weights than its manifest says: (.|\n)*Missing key'
    ):
        training(data, tmp_path / 'new', start=tmp_path / 'other')


def test_a_damaged_state_is_refused_with_the_way_out(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    state = next((tmp_path / 'out' / 'trainer').rglob('weights.safetensors'))
    state.write_bytes(state.read_bytes()[:-1] + b'\xff')
    with pytest.raises(CheckpointError, match=r'sha256.*delete .* to go on from the state before it'):
        training(data, tmp_path / 'out')


def test_presets_are_valid_and_can_be_changed():
    assert load_trainer('paper').targets.lag == 6000
    assert load_trainer('small', ['targets.discount=0.75', 'rebalancing.success_share=null']).targets.discount == 0.75


@pytest.mark.parametrize(
    ('override', 'named'),
    [
        ('discount=0.5', 'discount'),
        ('target.discount=0.5', 'target'),
        ('targets.discont=0.5', r'targets\.discont'),
        ('batch.size=3', 'batch'),
        ('targets.discount', 'name=value'),
    ],
)
def test_an_override_of_something_else_is_an_error_that_names_it(override, named):
    with pytest.raises(ConfigurationError, match=named):
        load_trainer('small', [override])


def test_a_value_out_of_range_is_an_error_that_names_it():
    with pytest.raises(ConfigurationError, match=r'targets\.discount'):
        load_trainer('small', ['targets.discount=1.5'])


def test_an_unknown_source_is_an_error(record, tmp_path, training):
    with pytest.raises(Exception, match='oracle'):
        training(record(1).data, tmp_path / 'out', sources=('oracle',))

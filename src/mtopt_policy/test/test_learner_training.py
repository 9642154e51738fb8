"""The whole learner: from bags to a Q-function that separates success from failure; resuming; bad inputs."""

import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from mtopt_core.checkpoint import load_checkpoint, load_manifest, newest_checkpoint, save_checkpoint
from mtopt_core.configuration import CellConfiguration
from mtopt_core.errors import CheckpointError, ConfigurationError, UnknownTaskError
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_policy.learner.configuration import load_trainer
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.trainer import TrainingError
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork

TASKS = load_tasks()
QUICK = ('batch=24', 'optimizer.cooldown=0', 'targets.averaging=0.05', 'targets.lag=10', 'targets.cem_samples=16')


class Notes:
    """What a training told."""

    def __init__(self):
        self.losses, self.exported_steps = [], []

    def stepped(self, step, interval):
        self.losses.append(interval.loss)

    def exported(self, path, manifest):
        self.exported_steps.append(manifest.training.steps)


def training(data, out, **changes) -> Training:
    options = {'overrides': QUICK, 'sources': ('simulator',), 'tasks': TASKS, 'cell': CellConfiguration()} | changes
    made = Training(TrainingOptions(data=data, out=out, **options))
    made.read()
    return made


def run(made: Training, steps: int) -> Notes:
    notes = Notes()
    made.run(steps, threading.Event(), notes)
    return notes


def test_the_learning_rate_falls_to_zero_at_the_end_of_the_steps_asked_for(record, tmp_path):
    made, rates = training(record(20).data, tmp_path / 'out', overrides=(*QUICK, 'optimizer.cooldown=0.5')), []
    train = made.learner.trainer.train
    made.learner.trainer.train = lambda batch, generator, rate: rates.append(rate) or train(batch, generator, rate)
    run(made, 8)
    assert rates == [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_q_separates_closings_that_succeed_from_those_that_fail(record, tmp_path):
    data = record(200).data
    made = training(data, tmp_path / 'out')
    notes = run(made, 150)
    assert notes.losses[-1] < notes.losses[0]
    manifest = load_manifest(newest_checkpoint(made.folder.policies), PolicyManifest)
    assert manifest.training.areas_under_curve == {'lift-can': 1.0}, 'of ten held-out closings'
    assert manifest.outcome_sources == ('simulator',)
    assert manifest.training.episodes == len(made.learner.replay.training) > 180


def test_an_exported_policy_is_the_averaged_network(record, tmp_path):
    made = training(record(10).data, tmp_path / 'out')
    run(made, 3)
    weights, manifest = load_checkpoint(newest_checkpoint(made.folder.policies), PolicyManifest)
    network = QNetwork(manifest.network)
    network.load_state_dict(weights)
    for ours, theirs in zip(network.parameters(), made.learner.targets.averaged.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_same_seed_trains_the_same_network(record, tmp_path):
    data = record(10).data
    states = []
    for name in ('first', 'second'):
        made = training(data, tmp_path / name)
        run(made, 6)
        states.append(made.learner.trainer.state())
    assert_same(*states)


def test_a_training_goes_on_where_it_was_stopped(record, tmp_path):
    data = record(10).data
    first = training(data, tmp_path / 'out')
    run(first, 5)
    stopped = {key: tensor.clone() for key, tensor in first.learner.trainer.state().items()}
    second = training(data, tmp_path / 'out')
    assert second.step == 5
    assert_same(second.learner.trainer.state(), stopped)
    assert run(second, 8).exported_steps == [8]
    assert second.measured.steps == 3
    assert second.measured.episodes == 0, 'the store was reused'


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]):
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, rtol=0, atol=0, msg=key, equal_nan=True)


@pytest.mark.parametrize('impersonation', [Impersonation.SKILL, Impersonation.GAIN])
def test_a_training_that_was_stopped_between_any_two_steps_ends_as_one_that_was_not(record, tmp_path, impersonation):
    record(15, task='lift-milk')
    data = record(15).data
    changes = {
        'impersonation': impersonation,
        'overrides': (*QUICK, 'batch=8', 'targets.age_limit=7', 'sharing.every=4', 'sharing.quantile=0.2'),
        'follow': False,
    }
    whole = training(data, tmp_path / 'whole', **changes)
    run(whole, 12)
    for step in range(1, 12):
        resumed = training(data, tmp_path / 'parts', **changes)
        assert resumed.step == step - 1
        run(resumed, step)
    resumed = training(data, tmp_path / 'parts', **changes)
    run(resumed, 12)
    assert_same(resumed.learner.state(), whole.learner.state())


def test_two_trainings_do_not_run_in_one_folder(record, tmp_path):
    data = record(10).data
    first, second = training(data, tmp_path / 'out'), training(data, tmp_path / 'out')
    with first.folder.locked(), pytest.raises(TrainingError, match=r'another training runs in .*/out;'):
        run(second, 1)
    assert run(second, 1).exported_steps == [1]


def test_what_a_killed_export_left_half_written_is_cleared_away(record, tmp_path):
    made = training(record(10).data, tmp_path / 'out')
    half = made.folder.policies / '.20261123T000000_000001.x.partial'
    half.mkdir(parents=True)
    run(made, 1)
    assert not half.exists()


def test_labels_for_the_rows_of_another_episode_store_are_made_anew(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 5)
    shutil.rmtree(data.root / 'replay')
    shutil.rmtree(sorted(data.bags.iterdir())[0])
    resumed = training(data, tmp_path / 'out')
    assert not any(key.startswith('train_buffer') for key in resumed.learner.state())
    assert run(resumed, 6).exported_steps == [6]


def test_a_training_that_is_told_to_stop_exports_what_it_has(record, tmp_path):
    made = training(record(10).data, tmp_path / 'out')
    stop, notes = threading.Event(), Notes()
    threading.Timer(0.5, stop.set).start()
    made.run(100_000, stop, notes)
    assert 0 < made.step < 100_000
    assert notes.exported_steps == [made.step]


def test_a_training_can_start_from_a_policy(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'first'), 3)
    start = newest_checkpoint(tmp_path / 'first' / 'policy')
    second = training(data, tmp_path / 'second', start=start.parent)
    weights, manifest = load_checkpoint(start, PolicyManifest)
    for key, tensor in second.learner.targets.averaged.state_dict().items():
        torch.testing.assert_close(tensor, weights[key], rtol=0, atol=0)
    run(second, 1)
    exported = load_manifest(newest_checkpoint(second.folder.policies), PolicyManifest)
    assert exported.training.started_from == manifest.version


def test_new_bags_and_outcomes_are_taken_in_by_reading_again(record, tmp_path):
    made = training(record(10).data, tmp_path / 'out')
    before = made.learner.buffers.sizes.sum()
    record(10)
    made.read()
    assert made.learner.buffers.sizes.sum() > before


def test_only_the_tasks_asked_for_are_learned_by_a_network_that_has_a_place_for_all(record, tmp_path):
    made = training(record(10).data, tmp_path / 'out', learn=('lift-can',))
    assert made.learner.buffers.sizes.any(axis=1).tolist() == [name == 'lift-can' for name in TASKS.names]
    run(made, 1)
    manifest = load_manifest(newest_checkpoint(made.folder.policies), PolicyManifest)
    assert manifest.training.learned == ('lift-can',)
    assert manifest.tasks == TASKS.names


def test_a_task_to_learn_that_does_not_exist_is_an_error(record, tmp_path):
    with pytest.raises(UnknownTaskError, match=r"unknown task 'lift-cat'; known: .*lift-can"):
        training(record(1).data, tmp_path / 'out', learn=('lift-cat',))


@pytest.mark.parametrize('follow', [True, False])
def test_data_that_arrive_meanwhile_are_taken_in_unless_a_run_is_to_be_repeated(record, tmp_path, monkeypatch, follow):
    monkeypatch.setattr('mtopt_policy.learner.training.REFRESH_SECONDS', 0.0)
    made = training(record(10).data, tmp_path / 'out', follow=follow)
    before = made.learner.buffers.sizes.sum()
    record(10)
    run(made, 2)
    assert (made.learner.buffers.sizes.sum() > before) == follow


def test_exporting_does_not_change_what_is_learned(record, tmp_path):
    data = record(25).data
    states = []
    for name, seconds in (('never', 1e6), ('always', 1e-6)):
        made = training(data, tmp_path / name, overrides=(*QUICK, f'export_seconds={seconds}'), follow=False)
        run(made, 6)
        assert made.learner.replay.held_out, 'or exports would judge nothing'
        states.append(made.learner.trainer.state())
    assert_same(*states)


def test_only_the_policies_asked_for_are_kept(record, tmp_path):
    data = record(10).data
    for steps in (1, 2, 3):
        run(training(data, tmp_path / 'out', overrides=(*QUICK, 'keep=2')), steps)
    kept = sorted(path.name[-6:] for path in (tmp_path / 'out' / 'policy').iterdir())
    assert kept == ['000002', '000003']


def test_batches_are_balanced_between_tasks_and_outcomes(record, tmp_path):
    record(40, task='lift-milk')
    half = (*QUICK, 'rebalancing.success_share=0.5')
    made = training(record(4).data, tmp_path / 'out', impersonation=Impersonation.NONE, overrides=half)
    labelled, _ = made.learner.step()
    counts = np.zeros((len(TASKS), 2), int)
    np.add.at(counts, (labelled.tasks, labelled.successes.astype(int)), 1)
    assert counts[TASKS.index('lift-can')].tolist() == [6, 6]
    assert counts[TASKS.index('lift-milk')].tolist() == [12, 0], 'no success yet: failures only'
    made.learner.close()


def test_batches_hold_the_share_of_last_transitions_asked_for(record, tmp_path):
    overrides = (*QUICK, 'rebalancing.terminal_share=1', 'targets.discount=0')
    made = training(record(20, moves=3).data, tmp_path / 'out', overrides=overrides)
    labelled, _ = made.learner.step()
    np.testing.assert_array_equal(labelled.targets, labelled.successes)
    made.learner.close()


def test_without_bags_the_error_says_so(record, tmp_path):
    made = training(record(0).data, tmp_path / 'out')
    with pytest.raises(TrainingError, match=r'holds no episode to learn from \(no bags\)'):
        run(made, 1)


def test_without_outcomes_the_error_names_the_sources_and_the_way_out(record, tmp_path):
    made = training(record(3).data, tmp_path / 'out', sources=('human', 'detector'))
    with pytest.raises(TrainingError, match=r'no outcome is known.*human, detector.*--outcomes simulator'):
        run(made, 1)


def test_without_any_success_there_is_nothing_to_learn(record, tmp_path):
    made = training(record(3, task='lift-milk').data, tmp_path / 'out', impersonation=Impersonation.NONE)
    with pytest.raises(TrainingError, match=r'none of the 3 episodes .* is a success for any task'):
        run(made, 1)


def test_without_a_success_of_the_tasks_to_learn_the_error_names_them(record, tmp_path):
    made = training(record(3).data, tmp_path / 'out', learn=('lift-milk', 'place-any'))
    with pytest.raises(TrainingError, match=r'none of the 3 episodes .* is a success for lift-milk, place-any'):
        run(made, 1)


def test_a_training_whose_data_vanish_says_so(record, tmp_path, monkeypatch):
    monkeypatch.setattr('mtopt_policy.learner.training.REFRESH_SECONDS', 0.0)
    data = record(5).data
    made = training(data, tmp_path / 'out')
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
def test_a_disk_without_room_is_an_error_and_leaves_the_exports_before_unharmed(record, tmp_path, limit):
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
    assert_same(resumed.learner.state(), state)
    assert run(resumed, 4).exported_steps == [4]


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_without_room_for_the_curves_the_training_says_so(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 2)
    again = training(data, tmp_path / 'out')
    with (
        files_up_to(50),
        pytest.raises(TrainingError, match=r'File too large; make room where .*/out and .*/data are'),
    ):
        run(again, 4)
    assert training(data, tmp_path / 'out').step == 2


def test_without_room_for_transitions_the_training_says_so_and_reads_them_later(record, tmp_path):
    made = training(record(10).data, tmp_path / 'out')
    record(10)
    size = max(path.stat().st_size for path in made.store.folder.rglob('images'))
    with files_up_to(size), pytest.raises(TrainingError, match='File too large; make room'):
        made.read()
    made.read()
    assert len(made.store.index) == 20
    assert run(made, 1).exported_steps == [1]


def test_a_loss_that_is_not_finite_stops_and_leaves_checkpoints_and_weights_as_they_were(record, tmp_path):
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


def test_a_state_of_other_tasks_is_refused(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    fewer = TaskSet(skills=TASKS.skills, tasks=TASKS.tasks[:-1])
    with pytest.raises(CheckpointError, match='was trained for tasks'):
        training(data, tmp_path / 'out', tasks=fewer)


def test_a_policy_of_another_action_space_is_refused(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    with pytest.raises(CheckpointError, match='has the action space'):
        training(data, tmp_path / 'full', setting='full', start=newest_checkpoint(tmp_path / 'out' / 'policy'))


def test_a_state_of_another_network_is_refused(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    before = sorted((tmp_path / 'out').rglob('*'))
    with pytest.raises(CheckpointError, match=r'has the network .* asked for is'):
        training(data, tmp_path / 'out', overrides=(*QUICK, 'network=paper'))
    assert sorted((tmp_path / 'out').rglob('*')) == before


def test_a_state_of_another_optimiser_is_refused(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    with pytest.raises(CheckpointError, match='was trained with optimizer adam; go on with it'):
        training(data, tmp_path / 'out', overrides=(*QUICK, 'optimizer.method=momentum'))


def test_a_policy_whose_weights_are_not_what_its_manifest_says_is_refused(record, tmp_path):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 1)
    weights, manifest = load_checkpoint(newest_checkpoint(tmp_path / 'out' / 'policy'), PolicyManifest)
    weights.pop(next(iter(weights)))
    save_checkpoint(tmp_path / 'other', weights, manifest)
    with pytest.raises(
        CheckpointError, match=r'/other/.* has other weights than its manifest says: (.|\n)*Missing key'
    ):
        training(data, tmp_path / 'new', start=tmp_path / 'other')


def test_a_damaged_state_is_refused_with_the_way_out(record, tmp_path):
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


def test_an_unknown_source_is_an_error(record, tmp_path):
    with pytest.raises(Exception, match='oracle'):
        training(record(1).data, tmp_path / 'out', sources=('oracle',))

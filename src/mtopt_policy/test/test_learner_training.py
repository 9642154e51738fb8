"""The whole learner: from bags to a Q-function that separates success from failure; resuming; balance."""

import shutil
import threading

import numpy as np
import pytest
import torch

from mtopt_core.checkpoint import load_checkpoint, load_manifest, newest_checkpoint
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import UnknownTaskError
from mtopt_core.label_store import LabelStore
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.trainer import TrainingError
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork

TASKS = load_tasks()


def test_the_learning_rate_falls_to_zero_at_the_end_of_the_steps_asked_for(record, tmp_path, training, run):
    made, rates = training(record(20).data, tmp_path / 'out', overrides=('optimizer.cooldown=0.5',)), []
    train = made.learner.trainer.train
    made.learner.trainer.train = lambda batch, generator, rate: rates.append(rate) or train(batch, generator, rate)
    run(made, 8)
    assert rates == [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_q_separates_closings_that_succeed_from_those_that_fail(record, tmp_path, training, run):
    data = record(200).data
    made = training(data, tmp_path / 'out')
    notes = run(made, 150)
    assert notes.losses[-1] < notes.losses[0]
    manifest = load_manifest(newest_checkpoint(made.folder.policies), PolicyManifest)
    assert manifest.training.areas_under_curve == {'lift-can': 1.0}, 'of ten held-out closings'
    assert manifest.outcome_sources == ('simulator',)
    assert manifest.training.episodes == len(made.learner.replay.training) > 180


def test_an_exported_policy_is_the_averaged_network(record, tmp_path, training, run):
    made = training(record(10).data, tmp_path / 'out')
    run(made, 3)
    weights, manifest = load_checkpoint(newest_checkpoint(made.folder.policies), PolicyManifest)
    network = QNetwork(manifest.network)
    network.load_state_dict(weights)
    for ours, theirs in zip(network.parameters(), made.learner.targets.averaged.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_the_same_seed_trains_the_same_network(record, tmp_path, training, run):
    data = record(10).data
    states = []
    for name in ('first', 'second'):
        made = training(data, tmp_path / name)
        run(made, 6)
        states.append(made.learner.trainer.state())
    torch.testing.assert_close(*states, rtol=0, atol=0, equal_nan=True)


def test_a_training_goes_on_where_it_was_stopped(record, tmp_path, training, run):
    data = record(10).data
    first = training(data, tmp_path / 'out')
    run(first, 5)
    stopped = {key: tensor.clone() for key, tensor in first.learner.trainer.state().items()}
    second = training(data, tmp_path / 'out')
    assert second.step == 5
    torch.testing.assert_close(second.learner.trainer.state(), stopped, rtol=0, atol=0, equal_nan=True)
    assert run(second, 8).exported_steps == [8]
    assert second.measured.steps == 3
    assert second.measured.episodes == 0, 'the store was reused'


@pytest.mark.parametrize('impersonation', [Impersonation.SKILL, Impersonation.GAIN])
def test_a_training_stopped_between_any_two_steps_ends_as_another(record, tmp_path, impersonation, training, run):
    record(15, task='lift-milk')
    data = record(15).data
    changes = {
        'impersonation': impersonation,
        'overrides': ('batch=8', 'targets.age_limit=7', 'sharing.every=4', 'sharing.quantile=0.2'),
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
    torch.testing.assert_close(resumed.learner.state(), whole.learner.state(), rtol=0, atol=0, equal_nan=True)


def test_two_trainings_do_not_run_in_one_folder(record, tmp_path, training, run):
    data = record(10).data
    first, second = training(data, tmp_path / 'out'), training(data, tmp_path / 'out')
    with first.folder.locked(), pytest.raises(TrainingError, match=r'another training runs in .*/out;'):
        run(second, 1)
    assert run(second, 1).exported_steps == [1]


def test_a_training_set_up_before_another_one_ended_does_not_undo_it(record, tmp_path, training, run):
    data = record(10).data
    first, second = training(data, tmp_path / 'out'), training(data, tmp_path / 'out')
    run(first, 2)
    with pytest.raises(TrainingError, match=r'has gone on in .*/out meanwhile; start again'):
        run(second, 1)
    assert run(training(data, tmp_path / 'out'), 3).exported_steps == [3]


def test_what_a_killed_export_left_half_written_is_cleared_away(record, tmp_path, training, run):
    made = training(record(10).data, tmp_path / 'out')
    half = made.folder.policies / '.20261123T000000_000001.x.partial'
    half.mkdir(parents=True)
    run(made, 1)
    assert not half.exists()


def test_labels_for_the_rows_of_another_episode_store_are_made_anew(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'out'), 5)
    shutil.rmtree(data.root / 'replay')
    shutil.rmtree(sorted(data.bags.iterdir())[0])
    resumed = training(data, tmp_path / 'out')
    assert not any(key.startswith('train_buffer') for key in resumed.learner.state())
    assert run(resumed, 6).exported_steps == [6]


def test_a_training_that_is_told_to_stop_exports_what_it_has(record, tmp_path, training, run):
    made = training(record(10).data, tmp_path / 'out')
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    notes = run(made, 100_000, stop)
    assert 0 < made.step < 100_000
    assert notes.exported_steps == [made.step]


def test_a_training_can_start_from_a_policy(record, tmp_path, training, run):
    data = record(10).data
    run(training(data, tmp_path / 'first'), 3)
    start = newest_checkpoint(tmp_path / 'first' / 'policy')
    second = training(data, tmp_path / 'second', start=start.parent)
    weights, manifest = load_checkpoint(start, PolicyManifest)
    for key, tensor in second.learner.targets.averaged.state_dict().items():
        torch.testing.assert_close(tensor, weights[key], rtol=0, atol=0, equal_nan=True)
    run(second, 1)
    exported = load_manifest(newest_checkpoint(second.folder.policies), PolicyManifest)
    assert exported.training.started_from == manifest.version


def test_new_bags_and_outcomes_are_taken_in_by_reading_again(record, tmp_path, training):
    made = training(record(10).data, tmp_path / 'out')
    before = made.learner.buffers.sizes.sum()
    record(10)
    made.read()
    assert made.learner.buffers.sizes.sum() > before


def test_only_the_tasks_asked_for_are_learned_by_a_network_that_has_a_place_for_all(record, tmp_path, training, run):
    made = training(record(10).data, tmp_path / 'out', learn=('lift-can',))
    assert made.learner.buffers.sizes.any(axis=1).tolist() == [name == 'lift-can' for name in TASKS.names]
    run(made, 1)
    manifest = load_manifest(newest_checkpoint(made.folder.policies), PolicyManifest)
    assert manifest.training.learned == ('lift-can',)
    assert manifest.tasks == TASKS.names


def test_a_task_to_learn_that_does_not_exist_is_an_error(record, tmp_path, training):
    with pytest.raises(UnknownTaskError, match=r"unknown task 'lift-cat'; known: .*lift-can"):
        training(record(1).data, tmp_path / 'out', learn=('lift-cat',))


def test_nothing_is_joined_anew_while_nothing_has_changed(record, tmp_path, training):
    data = record(10).data
    made = training(data, tmp_path / 'out')
    before = made.learner.buffers
    made.read()
    assert made.learner.buffers is before
    store = LabelStore(data)
    store.add('episode_00003', 'human', '', [Outcome('lift-can', Verdict.FAILURE, 0.0)], 'Ada')
    store.close()
    made.read()
    graded = made.learner.buffers
    assert graded is not before
    shutil.rmtree(data.bags / 'episode_00003')
    made.read()
    assert made.learner.buffers is not graded


@pytest.mark.parametrize('follow', [True, False])
def test_data_that_arrive_meanwhile_are_taken_in_unless_told_not_to(record, tmp_path, follow, training, run):
    made = training(record(10).data, tmp_path / 'out', follow=follow, refresh_seconds=0.0)
    before = made.learner.buffers.sizes.sum()
    record(10)
    run(made, 2)
    assert (made.learner.buffers.sizes.sum() > before) == follow


def test_exporting_does_not_change_what_is_learned(record, tmp_path, training, run):
    data = record(25).data
    states = []
    for name, seconds in (('never', 1e6), ('always', 1e-6)):
        made = training(data, tmp_path / name, overrides=(f'export_seconds={seconds}',), follow=False)
        run(made, 6)
        assert made.learner.replay.held_out, 'or exports would judge nothing'
        states.append(made.learner.trainer.state())
    torch.testing.assert_close(*states, rtol=0, atol=0, equal_nan=True)


def test_only_the_policies_asked_for_are_kept(record, tmp_path, training, run):
    data = record(10).data
    for steps in (1, 2, 3):
        run(training(data, tmp_path / 'out', overrides=('keep=2',)), steps)
    kept = sorted(path.name[-6:] for path in (tmp_path / 'out' / 'policy').iterdir())
    assert kept == ['000002', '000003']


def test_batches_are_balanced_between_tasks_and_outcomes(record, tmp_path, training):
    record(40, task='lift-milk')
    half = ('rebalancing.success_share=0.5', 'rebalancing.every_task=false')
    made = training(record(4).data, tmp_path / 'out', impersonation=Impersonation.NONE, overrides=half)
    batch, _ = made.learner.step()
    counts = np.zeros((len(TASKS), 2), int)
    np.add.at(counts, (batch.examples.tasks, batch.successes.astype(int)), 1)
    assert counts[TASKS.index('lift-can')].tolist() == [6, 6]
    assert counts[TASKS.index('lift-milk')].tolist() == [12, 0], 'no success yet: failures only'
    made.learner.close()


def test_batches_hold_the_share_of_last_transitions_asked_for(record, tmp_path, training):
    overrides = ('rebalancing.terminal_share=1', 'targets.discount=0')
    made = training(record(20, moves=3).data, tmp_path / 'out', overrides=overrides)
    batch, _ = made.learner.step()
    np.testing.assert_array_equal(batch.targets, batch.successes)
    made.learner.close()


def test_with_every_task_an_image_is_an_example_of_all_its_tasks_and_weights_keep_the_balance(
    record, tmp_path, training
):
    record(40, task='lift-milk')
    overrides = ('rebalancing.success_share=0.5', 'rebalancing.every_task=true', 'rebalancing.terminal_share=null')
    made = training(record(40).data, tmp_path / 'out', overrides=overrides)
    batch, _ = made.learner.step()
    buffers = made.learner.buffers
    known = buffers.outcomes(made.store.episodes_of(batch.rows)) != Verdict.UNSURE
    assert known.sum(axis=1).min() > 1
    np.testing.assert_array_equal(np.transpose([batch.examples.of, batch.examples.tasks]), np.argwhere(known))
    weights = np.zeros((len(TASKS), 2))
    np.add.at(weights, (batch.examples.tasks, batch.successes.astype(int)), batch.weights)
    sizes = buffers.sizes
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, made.configuration.rebalancing.shares(sizes), rtol=1e-4)
    made.learner.close()

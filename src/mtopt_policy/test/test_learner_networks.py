"""The trainer's choice of a network: it is trained, exported, rebuilt from its manifest, and refused elsewhere."""

import threading

import pytest

from mtopt_core.checkpoint import load_checkpoint, newest_checkpoint
from mtopt_core.configuration import CellConfiguration
from mtopt_core.errors import CheckpointError
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.configuration import TrainerConfiguration, load_trainer
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

TASKS = load_tasks()
QUICK = ('batch=12', 'targets.averaging=0.05', 'targets.cem_samples=8')


class Silent:
    def stepped(self, step, interval):
        pass

    def exported(self, path, manifest):
        pass


def training(data, out, overrides=(), **changes) -> Training:
    options = {'sources': ('simulator',), 'tasks': TASKS, 'cell': CellConfiguration()} | changes
    made = Training(TrainingOptions(data=data, out=out, overrides=(*QUICK, *overrides), **options))
    made.read()
    return made


@pytest.mark.parametrize(
    ('override', 'changes'),
    [
        ('network.views=[main]', {'views': ('main',)}),
        ('network.views=[wrist]', {'views': ('wrist',)}),
        ('network.norm=batch', {'norm': 'batch'}),
        ('network.image_size=48', {'image_size': 48}),
        ('network.state=[gripper_closed, gripper_width]', {'state': ('gripper_closed', 'gripper_width')}),
        ('network.heads=per_task', {'heads': 'per_task'}),
        ('network.value_bins=21', {'value_bins': 21}),
        ('network.task_embedding=16', {'task_embedding': 16}),
        ('network.layer_norm=true', {'layer_norm': True}),
    ],
)
def test_a_network_option_is_trained_exported_and_rebuilt_from_the_manifest(record, tmp_path, override, changes):
    made = training(record(10).data, tmp_path / 'out', (override,))
    made.run(2, threading.Event(), Silent())
    weights, manifest = load_checkpoint(newest_checkpoint(made.folder.policies), PolicyManifest)
    assert manifest.network == QNetworkConfiguration.small(len(TASKS)).model_copy(update=changes)
    QNetwork(manifest.network).load_state_dict(weights)
    assert made.learner.trainer.state()['online.fusion.logit.weight'].isfinite().all()


def test_a_training_does_not_go_on_with_another_network(record, tmp_path):
    data = record(10).data
    training(data, tmp_path / 'out').run(1, threading.Event(), Silent())
    with pytest.raises(CheckpointError, match=r"has the network .*views=\('main', 'wrist'\)"):
        training(data, tmp_path / 'out', ('network.views=[main]',))


def test_a_manifest_from_before_there_were_options_names_the_same_network():
    old = '{"preset": "small", "tasks": 12, "views": ["main", "wrist"], "image_size": 64, "norm": "group"}'
    assert QNetworkConfiguration.model_validate_json(old) == QNetworkConfiguration.small(12)


@pytest.mark.parametrize('preset', ['small', 'paper'])
def test_a_trainer_state_from_before_there_were_options_names_its_network_by_the_preset(preset):
    configuration = load_trainer(preset)
    old = configuration.model_dump() | {'network': preset}
    assert TrainerConfiguration.model_validate(old) == configuration


def test_layers_have_the_names_that_checkpoints_from_before_there_were_options_give_them():
    network = QNetwork(QNetworkConfiguration.small(12))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes['towers.1.layers.10.weight'] == (32, 32, 3, 3)
    assert shapes['fusion.blocks.7.weight'] == (64, 12)
    assert shapes['fusion.trunk.2.weight'] == (32, 32, 3, 3)
    assert shapes['fusion.trunk.5.weight'] == (64, 512)
    assert shapes['fusion.trunk.7.bias'] == (64,)
    assert len(shapes) == 53

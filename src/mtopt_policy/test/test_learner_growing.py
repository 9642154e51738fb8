"""A policy learns new tasks from what it knows: its network grows, and nothing changes for the tasks it had."""

import threading

import pytest
import torch

from mtopt_core.checkpoint import load_checkpoint, load_manifest, newest_checkpoint
from mtopt_core.configuration import CellConfiguration
from mtopt_core.errors import CheckpointError
from mtopt_core.growing import grown
from mtopt_core.tasks import Task, TaskSet, load_tasks
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

TASKS = load_tasks()
MORE = load_tasks('tasks_with_cloth.yaml')
OVERRIDES = ('batch=12', 'targets.averaging=0.05', 'targets.cem_samples=8')
VARIANTS = {
    'one-hot': {},
    'embedding': {'task_embedding': 16},
    'heads': {'heads': 'per_task'},
    'categorical': {'value_bins': 21, 'heads': 'per_task', 'layer_norm': True},
}


class Silent:
    def stepped(self, step, interval):
        pass

    def exported(self, path, manifest):
        pass


def network(tasks: int, seed: int, **changes) -> QNetwork:
    torch.manual_seed(seed)
    configuration = QNetworkConfiguration.small(tasks).model_dump() | changes
    return QNetwork(QNetworkConfiguration(**configuration)).eval()


def inputs(number: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(7)
    return torch.rand(number, 2, 3, 64, 64), torch.randn(number, 8), torch.rand(number, 3)


def q_of(one: QNetwork, tasks: int, task: int) -> torch.Tensor:
    images, actions, state = inputs(6)
    with torch.no_grad():
        return one(images, actions, state, torch.eye(tasks)[[task] * 6])


@pytest.mark.parametrize('changes', VARIANTS.values(), ids=VARIANTS)
def test_a_network_that_has_grown_says_the_same_of_its_old_tasks(changes):
    old, new = network(12, 1, **changes), network(14, 2, **changes)
    assert not torch.allclose(q_of(old, 12, 3), q_of(new, 14, 3), atol=1e-3)
    new.load_state_dict(grown(old.state_dict(), new))
    for task in range(12):
        torch.testing.assert_close(q_of(new, 14, task), q_of(old, 12, task), rtol=0, atol=1e-6)


@pytest.mark.parametrize('changes', VARIANTS.values(), ids=VARIANTS)
def test_the_new_tasks_can_be_learned(changes):
    old, new = network(12, 1, **changes), network(14, 2, **changes)
    new.load_state_dict(grown(old.state_dict(), new))
    images, actions, state = inputs(1)
    images.requires_grad_(True)
    outputs = {task: new.outputs(images, actions, state, torch.eye(14)[[task]]) for task in (12, 13)}
    gradients = torch.autograd.grad(outputs[12].sum(), list(new.parameters()))
    changed = [
        name
        for (name, weight), gradient in zip(new.named_parameters(), gradients, strict=True)
        if weight.shape != old.state_dict()[name].shape and gradient.abs().sum() > 0
    ]
    assert changed, 'what tells the new task from the others gets no gradient'


def test_a_network_of_other_layers_does_not_grow():
    with pytest.raises(RuntimeError, match='cannot grow'):
        grown(network(12, 1, task_embedding=8).state_dict(), network(14, 1, task_embedding=16))
    with pytest.raises(RuntimeError, match='cannot grow'):
        grown(network(14, 1).state_dict(), network(12, 1))


def training(data, out, **changes) -> Training:
    options = {'tasks': TASKS, 'sources': ('simulator',), 'overrides': OVERRIDES, 'cell': CellConfiguration()} | changes
    made = Training(TrainingOptions(data=data, out=out, **options))
    made.read()
    return made


@pytest.fixture
def base(record, tmp_path):
    """Return the data and the checkpoint of a policy of twelve tasks."""
    made = training(record(10).data, tmp_path / 'base')
    made.run(2, threading.Event(), Silent())
    return made.options.data, newest_checkpoint(made.folder.policies)


def test_a_training_from_a_policy_of_fewer_tasks_starts_with_its_q_and_exports_all_tasks(base, tmp_path):
    data, checkpoint = base
    made = training(data, tmp_path / 'more', tasks=MORE, start=checkpoint)
    weights, manifest = load_checkpoint(checkpoint, PolicyManifest)
    old = QNetwork(manifest.network).eval()
    old.load_state_dict(weights)
    for task in range(12):
        found = q_of(made.learner.targets.averaged.eval(), 14, task)
        torch.testing.assert_close(found, q_of(old, 12, task), rtol=0, atol=1e-6)
    made.run(1, threading.Event(), Silent())
    exported = load_manifest(newest_checkpoint(made.folder.policies), PolicyManifest)
    assert exported.tasks == MORE.names
    assert exported.training.started_from == manifest.version
    assert training(data, tmp_path / 'more', tasks=MORE, start=checkpoint).step == 1, 'it can be gone on with'


@pytest.mark.parametrize(
    'tasks',
    [
        MORE.tasks[1:],
        (MORE.tasks[12], *MORE.tasks[:12]),
        (*MORE.tasks[:3], Task(name='lift-bottle', skill='cover'), *MORE.tasks[4:]),
        MORE.tasks[:11],
    ],
    ids=['one is missing', 'new ones first', 'of another skill', 'fewer'],
)
def test_tasks_that_do_not_extend_the_policys_are_refused(base, tmp_path, tasks):
    data, checkpoint = base
    with pytest.raises(
        CheckpointError, match=r'was trained for tasks .* does not extend; a task file that does begins'
    ):
        training(data, tmp_path / 'more', tasks=TaskSet(skills=MORE.skills, tasks=tasks), start=checkpoint)


def test_a_training_is_not_gone_on_with_for_more_tasks(base, tmp_path):
    data, _ = base
    with pytest.raises(CheckpointError, match='was trained for tasks'):
        training(data, tmp_path / 'base', tasks=MORE)

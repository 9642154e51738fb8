"""The trainer's gradient step: every network and optimiser learns a batch it is shown again and again."""

import numpy as np
import pytest
import torch

from mtopt_core.precision import Precision
from mtopt_policy.learner.batches import Batch, Examples, States
from mtopt_policy.learner.configuration import AugmentationConfiguration, OptimizerConfiguration
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.trainer import Trainer
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

TASKS = 3
ADAM = OptimizerConfiguration(method='adam', learning_rate=1e-3, l2=0, largest_gradient=10)
MOMENTUM = OptimizerConfiguration(method='momentum', learning_rate=1e-2, l2=0, largest_gradient=10)
ALL = {'heads': 'per_task', 'value_bins': 51, 'task_embedding': 16, 'layer_norm': True}


def batch() -> Batch:
    """Return transitions of the same images, whose targets depend on action and task."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 1, 3, 32, 32), generator=generator, dtype=torch.uint8)
    actions = torch.zeros(4, 8)
    actions[:, 0] = torch.tensor([-1.0, 1.0]).repeat(2)
    targets = np.array([0, 1, 0.1, 0.9, 1, 0, 0.9, 0.1, 0.5, 0.5, 0.5, 0.5], np.float32)
    return Batch(
        states=States(images, torch.zeros(4, 3)),
        actions=actions,
        examples=Examples(np.tile(np.arange(4), 3), np.repeat(np.arange(TASKS), 4), TASKS),
        successes=targets > 0.5,
        targets=targets,
        weights=np.full(12, 1 / 12, np.float32),
        rows=np.arange(4),
    )


def trainer(changes, optimizer=ADAM, bfloat16=False) -> Trainer:
    torch.manual_seed(0)
    small = {'views': ('main',), 'image_size': 32}
    network = QNetwork(QNetworkConfiguration.small(TASKS).model_copy(update=small | changes))
    precision = Precision(torch.device('cpu'), bfloat16)
    still = AugmentationConfiguration(shift=0, brightness=0, contrast=0)
    return Trainer(network, TargetNetworks(network, 0.1, 10), optimizer, still, precision)


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'norm': 'batch'},
        {'heads': 'per_task'},
        {'value_bins': 51},
        {'task_embedding': 16},
        {'layer_norm': True},
        {'context_map': True},
        ALL,
    ],
)
def test_every_network_learns_what_depends_on_action_and_task(changes):
    made, shown = trainer(changes), batch()
    wrong = [1.0]
    while wrong[-1] > 0.15 and len(wrong) < 400:
        q = made.train(shown, torch.Generator()).q
        wrong.append(np.abs(q - shown.targets).max())
    assert wrong[-1] <= 0.15


def test_momentum_learns_too():
    made, shown = trainer({}, MOMENTUM), batch()
    losses = [made.train(shown, torch.Generator()).loss for _ in range(100)]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize('optimizer', [ADAM, MOMENTUM])
def test_a_step_at_no_learning_rate_changes_nothing_and_the_next_at_all_of_it_does(optimizer):
    made = trainer({}, optimizer)
    weights = [{name: tensor.clone() for name, tensor in made.state().items() if name.startswith('online.')}]
    for rate in (0.0, 1.0):
        made.train(batch(), torch.Generator(), rate)
        weights.append({name: tensor.clone() for name, tensor in made.state().items() if name.startswith('online.')})
    before, still, moved = weights
    assert all(torch.equal(before[name], still[name]) for name in before)
    assert not all(torch.equal(before[name], moved[name]) for name in before)


@pytest.mark.parametrize('changes', [{}, ALL])
def test_bfloat16_computes_the_same_step_to_its_precision_and_keeps_weights_in_float32(changes):
    results = []
    for bfloat16 in (False, True):
        made = trainer(changes, bfloat16=bfloat16)
        results.append(made.train(batch(), torch.Generator()))
        state = made.state()
        assert all(tensor.dtype == torch.float32 for name, tensor in state.items() if name.startswith('online.'))
    assert results[1].loss == pytest.approx(results[0].loss, rel=0.02)
    np.testing.assert_allclose(results[1].q, results[0].q, atol=0.02)
    assert (results[1].q != results[0].q).any(), 'it was float32'

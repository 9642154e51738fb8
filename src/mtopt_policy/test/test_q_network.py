from __future__ import annotations

import pytest
import torch

from mtopt_core.layers import LinearPerTask
from mtopt_policy.action_space import STATE
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

torch.set_num_threads(1)
TASKS = 12


def trainable(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def test_the_paper_network_has_the_papers_parameters():
    with torch.device('meta'):
        network = QNetwork(QNetworkConfiguration.paper(TASKS))
    # Grasping44 has 1,242,817; the block of the one-hot adds 12 * 256 + 256.
    assert trainable(network) == 1_246_145


def test_the_paper_network_has_seven_convolutions_before_the_fusion_and_nine_after():
    with torch.device('meta'):
        network = QNetwork(QNetworkConfiguration.paper(TASKS))

    def convolutions(module):
        return sum(isinstance(layer, torch.nn.Conv2d) for layer in module.modules())

    assert convolutions(network.towers) == 7
    assert convolutions(network.fusion) == 9


def test_every_view_has_a_tower_of_its_own_and_their_maps_are_summed():
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS)).eval()
    images = torch.rand(1, 2, 3, 64, 64)
    main, wrist = network.towers[0](images[:, 0]), network.towers[1](images[:, 1])
    assert torch.allclose(network.tower(images), main + wrist, atol=1e-6)
    assert not torch.allclose(network.towers[1](images[:, 0]), main)


def test_one_pass_gives_the_same_as_tower_and_head():
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS)).eval()
    images, actions, state = torch.rand(3, 2, 3, 64, 64), torch.randn(3, 8), torch.rand(3, 3)
    task = torch.eye(TASKS)[[0, 5, 11]]
    logits = network(images, actions, state, task)
    assert logits.shape == (3,)
    assert torch.allclose(logits, network.head(network.tower(images), actions[:, None], state, task)[:, 0], atol=1e-5)


def test_q_depends_on_image_action_state_and_task():
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS)).eval()
    inputs = [torch.rand(1, 2, 3, 64, 64), torch.rand(1, 8), torch.rand(1, 3), torch.eye(TASKS)[:1]]
    logit = network(*inputs)
    others = [torch.rand(1, 2, 3, 64, 64), torch.rand(1, 8), torch.rand(1, 3), torch.eye(TASKS)[1:2]]
    for index, other in enumerate(others):
        changed = [*inputs[:index], other, *inputs[index + 1 :]]
        assert (network(*changed) - logit).abs() > 1e-4


@pytest.mark.parametrize(
    'told', [('gripper_closed', 'height_to_bottom'), ('gripper_closed', 'height_to_bottom', 'gripper_width'), ()]
)
def test_q_depends_on_the_state_the_network_is_told_and_on_no_other(told):
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS).model_copy(update={'state': told})).eval()
    features, actions, task = torch.rand(1, 32, 8, 8), torch.rand(1, 1, 8), torch.eye(TASKS)[:1]
    state = torch.tensor([[0.0, 0.1, 0.02]])
    logit = network.head(features, actions, state, task)
    matters = [
        bool((network.head(features, actions, state + change, task) - logit).abs() > 1e-4)
        for change in torch.diag(torch.tensor([1.0, 0.1, 0.05]))
    ]
    assert matters == [name in told for name in STATE]


@pytest.mark.parametrize('changes', [{}, {'value_bins': 51}, {'value_bins': 51, 'heads': 'per_task'}])
def test_the_small_network_starts_at_a_low_q(changes):
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS).model_copy(update=changes)).eval()
    logits = network(torch.rand(4, 2, 3, 64, 64), torch.rand(4, 8), torch.rand(4, 3), torch.eye(TASKS)[:4])
    assert (logits.sigmoid() < 0.25).all()


@pytest.mark.parametrize(
    ('preset', 'layers'), [('small', 513 * 64 + 65 * 64 + 65), ('paper', 4096 * 64 + 64 * 64 + 65)]
)
def test_a_head_per_task_has_three_fully_connected_layers(preset, layers):
    with torch.device('meta'):
        one = getattr(QNetworkConfiguration, preset)(TASKS)
        many = QNetwork(one.model_copy(update={'heads': 'per_task'}))
    assert trainable(many) - trainable(QNetwork(one)) == (TASKS - 1) * layers


@pytest.mark.parametrize('preset', ['small', 'paper'])
def test_an_example_teaches_its_own_tasks_head_and_what_all_tasks_share(preset):
    torch.manual_seed(0)
    configuration = getattr(QNetworkConfiguration, preset)(TASKS)
    configuration = configuration.model_copy(update={'heads': 'per_task', 'image_size': 218, 'norm': 'group'})
    network = QNetwork(configuration)
    views = len(configuration.views)
    task = torch.eye(TASKS)[[3, 3]]
    network(torch.rand(2, views, 3, 218, 218), torch.rand(2, 8), torch.rand(2, 3), task).sum().backward()
    heads = [layer for layer in network.modules() if isinstance(layer, LinearPerTask)]
    assert len(heads) == 3
    for head in heads:
        taught = head.weight.grad.abs().amax(dim=(1, 2)) > 0
        assert taught.tolist() == [number == 3 for number in range(TASKS)]
    assert network.towers[0].layers[0].weight.grad.abs().max() > 0


def test_a_task_embedding_lets_a_task_choose_the_channels_that_count():
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS).model_copy(update={'task_embedding': 16})).eval()
    features, actions, state = torch.rand(1, 32, 8, 8), torch.rand(1, 1, 8), torch.rand(1, 3)
    task, other = torch.eye(TASKS)[[4]], torch.eye(TASKS)[[5]]
    others_logit = network.head(features, actions, state, other)
    # The fifth task now looks at the first channel only.
    blind = torch.zeros(32)
    blind[0] = 1
    vectors = network.task_embedding.vectors.weight.detach()
    change = torch.outer(blind - 1, torch.linalg.pinv(vectors)[4])
    network.task_embedding.gain.weight.data.copy_(change)
    changed = features.clone()
    changed[:, 1:] += 1
    assert torch.allclose(network.head(changed, actions, state, task), network.head(features, actions, state, task))
    assert torch.allclose(network.head(features, actions, state, other), others_logit, atol=1e-4)
    changed[:, 0] += 1
    assert not torch.allclose(network.head(changed, actions, state, task), network.head(features, actions, state, task))


def test_a_task_embedding_learns_through_the_sum_and_through_the_product():
    torch.manual_seed(0)
    network = QNetwork(QNetworkConfiguration.small(TASKS).model_copy(update={'task_embedding': 16}))
    network(torch.rand(1, 2, 3, 64, 64), torch.rand(1, 8), torch.rand(1, 3), torch.eye(TASKS)[[4]]).sum().backward()
    assert network.task_embedding.gain.weight.grad.abs().max() > 0
    taught = network.task_embedding.vectors.weight.grad.abs().amax(dim=0) > 0
    assert taught.tolist() == [number == 4 for number in range(TASKS)]


@pytest.mark.parametrize('preset', ['small', 'paper'])
@pytest.mark.parametrize('heads', ['one', 'per_task'])
def test_with_layer_norm_the_two_hidden_fully_connected_layers_are_normalised_each_example_by_itself(preset, heads):
    configuration = getattr(QNetworkConfiguration, preset)(TASKS)
    network = QNetwork(configuration.model_copy(update={'layer_norm': True, 'heads': heads}))
    trunk = list(network.fusion.trunk)
    linear = [place for place, layer in enumerate(trunk) if isinstance(layer, torch.nn.Linear | LinearPerTask)]
    assert len(linear) == 2
    for place in linear:
        vectors = trunk[place + 1](torch.rand(5, 64) * 7 + 3)
        torch.testing.assert_close(vectors.mean(1), torch.zeros(5), rtol=0, atol=1e-5)
        torch.testing.assert_close(vectors.std(1, unbiased=False), torch.ones(5), rtol=0, atol=1e-3)

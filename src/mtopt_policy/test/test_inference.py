from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import torch

from mtopt_core.configuration import StepConfiguration
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.inference import BatchingBackend, OpenVinoBackend, TorchBackend, backend_for
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

torch.set_num_threads(1)
TASKS = 12
ACTIONS = 64


def calibrated(configuration: QNetworkConfiguration) -> QNetwork:
    """Return an untrained network whose batch normalisation has seen images, and whose logits depend on the action."""
    torch.manual_seed(0)
    network = QNetwork(configuration).train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    if configuration.preset == 'paper':
        # Drawn as small as the paper's they move a logit by little more than bfloat16, torch's too, rounds it.
        for block in network.fusion.blocks:
            torch.nn.init.normal_(block.weight)
    if network.task_embedding is not None:
        torch.nn.init.normal_(network.task_embedding.gain.weight)
    images, actions, state, task = inputs(configuration, 8)
    with torch.no_grad():
        network(images, actions[:, 0], state, task)
    return network.eval()


def inputs(configuration: QNetworkConfiguration, batch: int = 1) -> tuple[torch.Tensor, ...]:
    space = ActionSpace.full(StepConfiguration())
    actions = space.assemble(torch.rand(batch, ACTIONS, 4) * 2 - 1, torch.randint(4, (batch, ACTIONS)))
    images = torch.rand(batch, len(configuration.views), 3, configuration.image_size, configuration.image_size)
    return images, actions, torch.rand(batch, 3), torch.eye(TASKS)[torch.randint(TASKS, (batch,))]


OPTIONS = {
    'small': {},
    'per_task': {'heads': 'per_task'},
    'categorical': {'value_bins': 51},
    'embedding': {'task_embedding': 16, 'layer_norm': True},
    'layer_norm': {'layer_norm': True},
}


# The paper's layers at a third of the pixels.
PAPER_OPTIONS = {
    'paper': {'image_size': 240},
    'paper_group': {'image_size': 240, 'norm': 'group'},
}


@pytest.fixture(scope='module', params=[*OPTIONS, *PAPER_OPTIONS])
def network(request) -> QNetwork:
    if request.param in OPTIONS:
        return calibrated(QNetworkConfiguration.small(TASKS).model_copy(update=OPTIONS[request.param]))
    return calibrated(QNetworkConfiguration.paper(TASKS).model_copy(update=PAPER_OPTIONS[request.param]))


def logits(backend, images, actions, state, task) -> torch.Tensor:
    return backend.head(backend.tower(images), actions, state, task)


def test_openvino_in_float32_equals_torch(network):
    example = inputs(network.configuration)
    expected = logits(TorchBackend(network, torch.device('cpu')), *example)
    assert expected.std() > 0.005
    found = logits(OpenVinoBackend(network, ACTIONS, 1, 'f32'), *example)
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.std()) + 1e-5)


def test_a_second_network_of_the_same_kind_acts_by_its_own_weights_and_leaves_the_first_as_it_was(network):
    example = inputs(network.configuration)
    first = OpenVinoBackend(network, ACTIONS, 1, 'f32')
    before = logits(first, *example)
    other = deepcopy(network)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.0 + 0.3 * torch.rand(tensor.shape))
    expected = logits(TorchBackend(other, torch.device('cpu')), *example)
    found = logits(OpenVinoBackend(other, ACTIONS, 1, 'f32'), *example)
    assert (expected - before).abs().max() > 0.05 * expected.std(), 'or nothing would be shown'
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.std()) + 1e-5)
    assert torch.equal(logits(first, *example), before)


def test_openvino_in_this_cpus_precision_ranks_actions_as_torch_does(network):
    example = inputs(network.configuration)
    expected = logits(TorchBackend(network, torch.device('cpu')), *example)[0]
    found = logits(OpenVinoBackend(network, ACTIONS, 1), *example)[0]
    assert (found.sigmoid() - expected.sigmoid()).abs().max() < 0.01
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.9
    # Logits of eight bits would leave a dozen values, and CEM would have to choose among ties.
    moves = example[1][0, :, 7] == 0
    assert len(found[moves].unique()) == moves.sum()


def test_decisions_of_several_robots_that_fall_together_are_computed_in_one_batch_and_come_out_the_same():
    network = calibrated(QNetworkConfiguration.small(TASKS))
    questions = [inputs(network.configuration) for _ in range(3)]
    reference = TorchBackend(network, torch.device('cpu'))
    backend = backend_for(network, ACTIONS, threads=1, robots=3)
    assert isinstance(backend, BatchingBackend)

    def ask(question):
        images, actions, state, task = question
        logits = []
        for _ in range(20):
            features = backend.tower(images)
            logits += [backend.head(features, actions, state, task) for _ in range(3)]
        return torch.cat(logits)

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(ask, questions))
    for (images, actions, state, task), answer in zip(questions, answers, strict=True):
        expected = reference.head(reference.tower(images), actions, state, task)
        assert (answer.sigmoid() - expected.sigmoid()).abs().max() < 0.01
    asked, batches = backend.batches
    assert asked == 3 * 20 * 4
    assert batches < asked, 'some fell together'


def test_a_backend_nobody_uses_any_more_is_gone_at_once_with_all_its_networks():
    question = inputs(QNetworkConfiguration.small(TASKS))
    gc.disable()
    try:
        network = calibrated(QNetworkConfiguration.small(TASKS))
        backend = backend_for(network, ACTIONS, threads=1, robots=2)
        logits(backend, *question)
        old = weakref.ref(network)
        del backend, network
        assert old() is None
    finally:
        gc.enable()

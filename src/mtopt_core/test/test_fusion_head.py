from __future__ import annotations

import pytest
import torch

from mtopt_core.fusion_head import FusionHead
from mtopt_core.layers import CHANNELS
from mtopt_core.vision_tower import map_size

torch.set_num_threads(1)


@pytest.mark.parametrize(('preset', 'image_size'), [('small', 64), ('small', 40), ('small', 16), ('paper', 218)])
def test_the_fused_convolution_equals_convolving_the_sum(preset, image_size):
    torch.manual_seed(0)
    head, side = FusionHead(preset, 'group', (5, 3), image_size).eval(), map_size(preset, image_size)
    width = CHANNELS[preset]
    features = torch.randn(2, width, side, side)
    context = torch.randn(2 * 3, width)
    expected = head.fuse(features.repeat_interleave(3, 0) + context[:, :, None, None])
    if preset == 'small':
        expected = torch.nn.functional.max_pool2d(expected, 2, ceil_mode=True)
    assert torch.allclose(head._fuse(features, context, 3), expected, atol=1e-5)


def test_vectors_given_once_per_image_count_for_every_action():
    torch.manual_seed(0)
    head = FusionHead('small', 'group', (5, 3), 64).eval()
    features, actions, state = torch.randn(2, 32, 8, 8), torch.randn(2, 4, 5), torch.randn(2, 1, 3)
    logits = head(features, [actions, state])
    assert logits.shape == (2, 4)
    for number in range(4):
        alone = head(features, [actions[:, number : number + 1], state])
        assert torch.allclose(logits[:, number : number + 1], alone, atol=1e-5)


def test_with_a_head_per_task_each_example_goes_through_its_own_tasks_layers():
    torch.manual_seed(0)
    one = FusionHead('small', 'group', (5, 3), 64)
    many = FusionHead('small', 'group', (5, 3), 64, heads=3)
    weights = {name: tensor.clone() for name, tensor in many.state_dict().items()}
    for name, tensor in one.state_dict().items():
        if weights[name].shape == tensor.shape:
            weights[name] = tensor
        else:
            # The second task's head is that of the network with one head.
            weights[name][1] = tensor
    many.load_state_dict(weights)
    features, blocks = torch.randn(2, 32, 8, 8), [torch.randn(2, 4, 5), torch.randn(2, 1, 3)]
    tasks = torch.eye(3)[[1, 2]]
    expected = one(features, blocks)
    found = many.score(many.embed(features, blocks, tasks), tasks)[..., 0]
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert not torch.allclose(found[1], expected[1], atol=1e-2)

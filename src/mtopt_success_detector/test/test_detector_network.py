from __future__ import annotations

import pytest
import torch

from mtopt_success_detector.network import DetectorConfiguration, SuccessDetector


@pytest.fixture(scope='module')
def network() -> SuccessDetector:
    torch.manual_seed(0)
    return SuccessDetector(DetectorConfiguration.small(12)).eval()


def test_the_paper_s_network_is_the_q_network_without_state_and_action():
    network = SuccessDetector(DetectorConfiguration.paper(12))
    blocks_left_out = sum(width * 256 + 256 for width in (3, 2, 1, 1, 1, 1, 1))
    parameters = sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
    assert parameters == 1_246_145 - blocks_left_out


@torch.inference_mode()
def test_the_logit_is_the_mean_over_the_views_present(network):
    images = torch.rand(1, 3, 3, 64, 64)
    alone = torch.cat([network(images, torch.eye(3, dtype=torch.bool)[view][None]) for view in range(3)])
    torch.testing.assert_close(network(images, torch.tensor([[True, True, True]])), alone.mean(0, keepdim=True))
    torch.testing.assert_close(
        network(images, torch.tensor([[True, False, True]])), alone[[0, 2]].mean(0, keepdim=True)
    )


@torch.inference_mode()
def test_episodes_of_a_batch_do_not_touch_each_other(network):
    images = torch.rand(4, 3, 3, 64, 64)
    present = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, False, True]])
    alone = torch.cat([network(images[n : n + 1], present[n : n + 1]) for n in range(4)])
    torch.testing.assert_close(network(images, present), alone)


@torch.inference_mode()
def test_tasks_are_judged_differently(network):
    logits = network(torch.rand(1, 3, 3, 64, 64), torch.ones(1, 3, dtype=torch.bool))
    assert logits.shape == (1, 12)
    assert logits.unique().numel() == 12

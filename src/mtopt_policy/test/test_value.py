from __future__ import annotations

import pytest
import torch

from mtopt_policy.value import BinaryValue, CategoricalValue

BINS = 51


def test_a_targets_distribution_has_the_targets_mean_but_for_a_third_of_a_bin_at_the_ends():
    targets = torch.linspace(0, 1, 201)
    distribution = CategoricalValue(BINS).distribution(targets)
    assert distribution.min() >= 0
    torch.testing.assert_close(distribution.sum(1), torch.ones(201))
    errors = (distribution @ torch.linspace(0, 1, BINS) - targets).abs() * (BINS - 1)
    assert errors.max() < 1 / 3
    assert errors[(targets > 0.06) & (targets < 0.94)].max() < 1e-3


def test_a_targets_distribution_spreads_over_the_bins_beside_it():
    probabilities = CategoricalValue(BINS).distribution(torch.tensor([0.5]))[0]
    assert probabilities.argmax() == 25
    # A Gaussian of 0.75 bins has half its mass within half a bin.
    assert probabilities[25] == pytest.approx(0.495, abs=0.001)
    assert probabilities[24] == pytest.approx(probabilities[26].item(), abs=1e-6)
    assert probabilities[23:28].sum() > 0.999


@pytest.mark.parametrize('value', [BinaryValue(), CategoricalValue(BINS)])
def test_the_loss_is_least_where_q_is_the_target(value):
    targets = torch.tensor([0.0, 0.1, 0.5, 0.93, 1.0])
    outputs = torch.zeros(5, value.outputs, requires_grad=True)
    optimizer = torch.optim.Adam([outputs], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        value.losses(outputs, targets).mean().backward()
        optimizer.step()
    torch.testing.assert_close(value.logit(outputs.detach()).sigmoid(), targets, rtol=0, atol=0.01)


def test_the_sigmoid_of_the_logit_is_the_distributions_mean():
    outputs = torch.randn(7, 3, BINS) * 3
    mean = outputs.softmax(-1) @ torch.linspace(0, 1, BINS)
    torch.testing.assert_close(CategoricalValue(BINS).logit(outputs).sigmoid(), mean)


def test_two_bins_are_a_binary_value():
    outputs = torch.randn(7, 2)
    torch.testing.assert_close(CategoricalValue(2).logit(outputs), outputs[:, 1] - outputs[:, 0])


def test_actions_far_below_every_chance_are_still_ranked():
    outputs = torch.zeros(3, BINS)
    outputs[:, 0] = torch.tensor([200.0, 220.0, 240.0])
    logits = CategoricalValue(BINS).logit(outputs)
    assert logits.isfinite().all()
    assert (logits.diff() < -10).all()

from __future__ import annotations

import math

import pytest
import torch

from mtopt_core.configuration import StepConfiguration
from mtopt_policy.action_space import ActionSpace, Choice
from mtopt_policy.cem import CrossEntropyMethod

torch.set_num_threads(1)
STEP = StepConfiguration()
FULL, EASED = ActionSpace.full(STEP), ActionSpace.eased(STEP)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask(*choices: Choice, batch: int = 1) -> torch.Tensor:
    return torch.tensor([[choice in choices for choice in Choice]] * batch)


def distance(actions: torch.Tensor, optimum: torch.Tensor) -> torch.Tensor:
    return (actions[..., :5] - optimum).norm(dim=-1)


def test_it_finds_a_known_optimum():
    yaw = 0.3
    optimum = torch.tensor([0.4, -0.6, 0.2, math.sin(yaw), math.cos(yaw)])
    cem = CrossEntropyMethod(FULL, iterations=6)
    action, value = cem.maximise(lambda a: -distance(a, optimum), mask(Choice.MOVE), generator())
    assert distance(action, optimum).item() < 0.05
    assert value.item() == pytest.approx(-distance(action, optimum).item())


def test_every_state_of_a_batch_has_its_own_optimum():
    optima = torch.tensor([[0.5, 0, 0, 0, 1], [-0.5, 0.3, 0, 0, 1], [0, 0, -0.8, 0, 1]])[:, None]
    cem = CrossEntropyMethod(EASED, iterations=6)
    actions, _ = cem.maximise(lambda a: -distance(a, optima), mask(Choice.MOVE, batch=3), generator())
    assert (distance(actions, optima[:, 0]) < 0.1).all()


def test_two_iterations_are_better_than_one():
    optimum = torch.tensor([0.4, -0.6, 0.2, 0.0, 1.0])
    masks = mask(Choice.MOVE, batch=200)
    values = [
        CrossEntropyMethod(FULL, iterations=iterations)
        .maximise(lambda a: -distance(a, optimum), masks, generator())[1]
        .mean()
        for iterations in (1, 2)
    ]
    assert values[1] > values[0] + 0.05


@pytest.mark.parametrize('space', [FULL, EASED], ids=['full', 'eased'])
def test_no_sample_breaks_a_mask_or_a_limit(space):
    torch.manual_seed(0)
    masks = torch.rand(40, 4) < 0.5
    masks[:, Choice.MOVE] = True
    seen = []

    def score(actions: torch.Tensor) -> torch.Tensor:
        seen.append(actions)
        return torch.randn(actions.shape[:2])

    CrossEntropyMethod(space).maximise(score, masks, generator())
    for actions in seen:
        binaries = actions[..., 5:]
        assert (binaries.sum(-1) <= 1).all()
        for choice in (Choice.CLOSE, Choice.OPEN, Choice.TERMINATE):
            # Every allowed choice is tried in every iteration, no other ever.
            assert torch.equal(binaries[..., choice - 1].any(1), masks[:, choice])
        assert actions[..., :3].abs().max() <= 1
        assert torch.atan2(actions[..., 3], actions[..., 4]).abs().max() <= STEP.max_yaw_change + 1e-6
        assert (actions[binaries[..., 2] == 1][:, :4] == 0).all()


def test_closing_in_place_is_tried_once_and_wins_when_it_is_best():
    tried = []

    def score(actions: torch.Tensor) -> torch.Tensor:
        tried.append(int(actions[..., 5].sum()))
        return actions[..., 5] * 10 - actions[..., :3].norm(dim=-1)

    action, _ = CrossEntropyMethod(EASED).maximise(score, mask(Choice.MOVE, Choice.CLOSE), generator())
    assert tried == [1, 1]
    assert action[0].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_a_choice_that_all_elites_missed_is_tried_again():
    rounds = []

    def score(actions: torch.Tensor) -> torch.Tensor:
        rounds.append(actions[..., 5].mean().item())
        return -actions[..., 5]

    CrossEntropyMethod(FULL, iterations=3).maximise(score, mask(Choice.MOVE, Choice.CLOSE), generator())
    assert rounds[0] == pytest.approx(0.5)
    assert all(0 < share < 0.1 for share in rounds[1:])


def test_the_same_seed_gives_the_same_action():
    def score(actions: torch.Tensor) -> torch.Tensor:
        return -actions.norm(dim=-1)

    first, second, third = (
        CrossEntropyMethod(EASED).maximise(score, mask(Choice.MOVE), generator(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_score_that_is_not_a_number_is_returned_not_hidden():
    _, value = CrossEntropyMethod(EASED).maximise(
        lambda actions: torch.full(actions.shape[:2], math.nan), mask(Choice.MOVE), generator()
    )
    assert value.isnan().all()

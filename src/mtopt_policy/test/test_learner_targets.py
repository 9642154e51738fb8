"""Q-targets against a hand calculation, and the train buffer that keeps them."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Verdict
from mtopt_core.precision import Precision
from mtopt_policy.action_space import ActionSpace, Choice
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.learner import bellman_updater
from mtopt_policy.learner.batches import Examples, States, UnlabelledTransitions
from mtopt_policy.learner.bellman_updater import BellmanUpdater
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.train_buffer import LabelledTransitions, TrainBuffer

FLOAT32 = Precision(torch.device('cpu'), bfloat16=False)
EASED = ActionSpace.eased(StepConfiguration())


class PeakedQ(torch.nn.Module):
    """A Q-function known in closed form: logit = height - slope * |dx - brightness of the image|, closing adds 1."""

    def __init__(self, slope: float, height: float):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))
        self.height = torch.nn.Parameter(torch.tensor(height))

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3, 4))

    def head(self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor):
        closing = actions[..., 5] - state[:, :1]
        return self.height - self.slope * (actions[..., 0] - features[:, None]).abs() + closing


def states(brightness: list[int], closed: list[int]) -> States:
    images = torch.tensor(brightness, dtype=torch.uint8)[:, None, None, None, None].expand(-1, 1, 3, 2, 2)
    return States(images, torch.tensor([[c, 0.1] for c in closed], dtype=torch.float32))


def one_task(number: int) -> Examples:
    return Examples(np.arange(number), np.zeros(number, int), number=1)


def updater(first: PeakedQ, second: PeakedQ, mask: list[bool], **options: bool) -> BellmanUpdater:
    targets = TargetNetworks(first, rate=0.1, lag=10)
    targets.lagged.load_state_dict(second.state_dict())
    cem = CrossEntropyMethod(EASED, samples=256, elites=8, iterations=4)
    options = {'monte_carlo': False, 'logged_action': False} | options
    return BellmanUpdater(targets, cem, np.array([[mask, mask]]), discount=0.9, precision=FLOAT32, **options)


def label(
    bellman: BellmanUpdater,
    successes: list[bool],
    remaining: list[int],
    next_states: States,
    next_actions: torch.Tensor | None = None,
    n_step: int = 1,
) -> np.ndarray:
    if next_actions is None:
        next_actions = torch.zeros(len(next_states.state), 8)
    transitions = UnlabelledTransitions(
        rows=np.arange(len(successes)),
        outcomes=np.array(successes, np.int8)[:, None],
        remaining=np.array(remaining),
        n_step=n_step,
        next_states=next_states,
        next_actions=next_actions,
    )
    return bellman.label(transitions, torch.Generator().manual_seed(0)).targets[:, 0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


MOVE_ONLY = [True, False, False, False]


def test_targets_are_the_discounted_lesser_q_of_the_first_networks_best_action():
    # The first network's maximum lies at dx = brightness, where its logit is 0.5 and the second's is -0.5.
    bellman = updater(PeakedQ(3.0, 0.5), PeakedQ(1.0, -0.5), MOVE_ONLY)
    targets = label(bellman, [True], [1], states([51], [0]))
    assert targets[0] == pytest.approx(0.9 * sigmoid(-0.5), abs=0.003)


def test_the_second_network_does_not_choose_the_action_but_may_value_it_higher_in_vain():
    bellman = updater(PeakedQ(3.0, 0.5), PeakedQ(1.0, 2.0), MOVE_ONLY)
    value = bellman.value(states([51], [0]), one_task(1), torch.Generator().manual_seed(0))
    assert value.item() == pytest.approx(sigmoid(0.5), abs=0.005)


class SizedQ(PeakedQ):
    """Notes for how many examples it is asked."""

    asked: ClassVar[set[int]] = set()

    def head(self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor):
        self.asked.add(len(task))
        return super().head(features, actions, state, task)


def test_the_networks_see_batches_of_few_sizes_and_the_values_are_those_of_the_examples():
    bellman = updater(SizedQ(3.0, 0.5), SizedQ(1.0, -0.5), MOVE_ONLY)
    for number in (1, 15, 16, 17, 130):
        value = bellman.value(states([51] * number, [0] * number), one_task(number), torch.Generator().manual_seed(0))
        torch.testing.assert_close(value, torch.full((number,), sigmoid(-0.5)), atol=0.01, rtol=0)
    assert SizedQ.asked == {16, 32, 128}


def test_a_terminal_transitions_target_is_the_tasks_reward_and_needs_no_next_state():
    bellman = updater(PeakedQ(3.0, 0.5), PeakedQ(1.0, -0.5), MOVE_ONLY)
    targets = label(bellman, [True, False], [0, 0], states([], []))
    np.testing.assert_array_equal(targets, [1, 0])


def test_success_of_the_episode_does_not_leak_into_transitions_before_the_last():
    bellman = updater(PeakedQ(3.0, 0.5), PeakedQ(3.0, 0.5), MOVE_ONLY)
    targets = label(bellman, [True, True, False], [1, 0, 1], states([51, 51], [0, 0]))
    assert targets[1] == 1
    assert targets[0] == pytest.approx(0.9 * sigmoid(0.5), abs=0.005)
    assert targets[0] == pytest.approx(targets[2], abs=0.005)


def test_with_n_step_returns_the_value_is_discounted_n_times_and_an_end_before_counts_as_it_is():
    bellman = updater(PeakedQ(3.0, 0.5), PeakedQ(3.0, 0.5), MOVE_ONLY)
    targets = label(bellman, [True, True, True, False], [3, 2, 0, 1], states([51], [0]), n_step=3)
    assert targets[0] == pytest.approx(0.9**3 * sigmoid(0.5), abs=0.005)
    assert targets[1:] == pytest.approx([0.9**2, 1, 0])


def test_with_the_monte_carlo_bound_a_success_is_worth_at_least_its_discounted_return_before_the_last_decision_too():
    pessimist = PeakedQ(3.0, -5.0)
    bellman = updater(pessimist, pessimist, MOVE_ONLY, monte_carlo=True)
    targets = label(bellman, [True, False, True], [2, 2, 0], states([51, 51], [0, 0]))
    assert targets[0] == pytest.approx(0.9**2)
    assert targets[1] == pytest.approx(0.9 * sigmoid(-5.0), abs=0.001)
    assert targets[2] == 1


def closing(dx: float) -> torch.Tensor:
    """Return an action that moves and closes, which CEM does not try: its logit is 0.5 - 3 * |dx - brightness| + 1."""
    action = torch.zeros(1, 8)
    action[0, 0], action[0, 5] = dx, 1
    return action


def test_the_logged_action_is_a_candidate_where_asked_for():
    first, second = PeakedQ(3.0, 0.5), PeakedQ(3.0, 0.25)
    with_it, without = (updater(first, second, MOVE_ONLY, logged_action=asked) for asked in (True, False))
    better, worse = closing(0.3), closing(-0.8)
    assert label(with_it, [True], [1], states([51], [0]), better)[0] == pytest.approx(0.9 * sigmoid(0.25 - 0.3 + 1))
    best_move = pytest.approx(0.9 * sigmoid(0.25), abs=0.003)
    assert label(with_it, [True], [1], states([51], [0]), worse)[0] == best_move
    assert label(without, [True], [1], states([51], [0]), better)[0] == best_move


def test_choices_masked_for_the_next_state_do_not_count():
    closing_allowed = [True, Choice.CLOSE == 1, False, False]
    # Closing in place: dx = 0 on a black image, logit 0.5 + 1.
    open_hand = updater(PeakedQ(3.0, 0.5), PeakedQ(3.0, 0.5), closing_allowed)
    masked = updater(PeakedQ(3.0, 0.5), PeakedQ(3.0, 0.5), MOVE_ONLY)
    generator = torch.Generator().manual_seed(0)
    assert open_hand.value(states([0], [0]), one_task(1), generator).item() == pytest.approx(sigmoid(1.5), abs=0.005)
    assert masked.value(states([0], [0]), one_task(1), generator).item() == pytest.approx(sigmoid(0.5), abs=0.005)


def test_the_mask_is_that_of_the_task_and_the_gripper():
    masks = np.zeros((1, 2, 4), bool)
    masks[..., Choice.MOVE] = True
    masks[0, 0, Choice.CLOSE] = True
    targets = TargetNetworks(PeakedQ(3.0, 0.5), rate=0.1, lag=10)
    bellman = BellmanUpdater(targets, CrossEntropyMethod(EASED, 256, 8, 4), masks, 0.9, False, False, FLOAT32)
    opened, closed = bellman.value(states([0, 0], [0, 1]), one_task(2), torch.Generator().manual_seed(0)).tolist()
    assert opened == pytest.approx(sigmoid(1.5), abs=0.005)
    assert closed == pytest.approx(sigmoid(0.5 - 1), abs=0.005)


def test_a_transition_has_a_target_for_every_task_it_is_an_example_of_and_none_for_others():
    masks = np.zeros((3, 2, 4), bool)
    masks[..., Choice.MOVE] = True
    masks[2, :, Choice.CLOSE] = True
    targets = TargetNetworks(PeakedQ(3.0, 0.5), rate=0.1, lag=10)
    bellman = BellmanUpdater(targets, CrossEntropyMethod(EASED, 256, 8, 4), masks, 0.9, False, False, FLOAT32)
    success, failure, unsure = (int(verdict) for verdict in (Verdict.SUCCESS, Verdict.FAILURE, Verdict.UNSURE))
    outcomes = np.array([[success, unsure, failure], [failure, success, unsure], [unsure, success, failure]], np.int8)
    transitions = UnlabelledTransitions(
        np.arange(3), outcomes, np.array([1, 0, 2]), 1, states([0, 0], [0, 0]), torch.zeros(2, 8)
    )
    found = bellman.label(transitions, torch.Generator().manual_seed(0))
    moving, closing_too = 0.9 * sigmoid(0.5), 0.9 * sigmoid(1.5)
    expected = [[moving, np.nan, closing_too], [0, 1, np.nan], [np.nan, moving, closing_too]]
    np.testing.assert_allclose(found.targets, expected, atol=0.005)
    np.testing.assert_array_equal(found.outcomes, outcomes)


def test_targets_do_not_depend_on_how_many_are_searched_at_once(monkeypatch):
    bellman = updater(PeakedQ(3.0, 0.5), PeakedQ(1.0, -0.5), MOVE_ONLY)
    brightness = list(range(0, 200, 20))
    together = label(bellman, [True] * 10, [1] * 10, states(brightness, [0] * 10))
    monkeypatch.setattr(bellman_updater, 'AT_ONCE', {'cpu': 3})
    np.testing.assert_allclose(
        label(bellman, [True] * 10, [1] * 10, states(brightness, [0] * 10)), together, atol=0.005
    )


def test_target_one_is_the_running_average_and_target_two_the_same_earlier():
    online = PeakedQ(1.0, 0.0)
    targets = TargetNetworks(online, rate=0.25, lag=3)
    with torch.no_grad():
        online.slope.fill_(2.0)
    averaged, lagged = [], []
    for step in (1, 2, 3):
        targets.follow(online, step)
        averaged.append(targets.averaged.slope.item())
        lagged.append(targets.lagged.slope.item())
    assert averaged == pytest.approx([1.25, 1.4375, 1.578125])
    assert lagged == pytest.approx([1.0, 1.0, 1.4375])


def labelled(first_row: int, count: int) -> LabelledTransitions:
    rows = np.arange(first_row, first_row + count)
    return LabelledTransitions(rows, (rows[:, None] % 2).astype(np.int8), (rows[:, None] / 100).astype(np.float32))


def test_a_label_is_used_until_its_age_limit():
    buffer = TrainBuffer(age_limit=10)
    buffer.add(labelled(0, 4), step=0)
    buffer.add(labelled(4, 4), step=9)
    assert sorted(buffer.sample(8, np.random.default_rng(0)).rows) == list(range(8))
    buffer.add(labelled(8, 4), step=10)
    assert sorted(buffer.sample(8, np.random.default_rng(0)).rows) == list(range(4, 12))


def test_a_transition_keeps_its_own_label():
    buffer = TrainBuffer(age_limit=10)
    buffer.add(labelled(0, 50), step=0)
    drawn = buffer.sample(20, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.targets[:, 0], drawn.rows / 100)
    np.testing.assert_array_equal(drawn.outcomes[:, 0], drawn.rows % 2)


def test_a_small_buffer_still_fills_a_batch():
    buffer = TrainBuffer(age_limit=10)
    buffer.add(labelled(0, 3), step=0)
    assert len(buffer.sample(8, np.random.default_rng(0))) == 8

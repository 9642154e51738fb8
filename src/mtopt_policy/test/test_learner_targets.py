"""Q-targets against a hand calculation, and the train buffer that keeps them."""

import math

import numpy as np
import pytest
import torch

from mtopt_core.configuration import StepConfiguration
from mtopt_core.precision import Precision
from mtopt_policy.action_space import ActionSpace, Choice
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.learner.batches import States, UnlabelledTransitions
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

    def forward(self, images: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor):
        return self.head(self.tower(images), actions[:, None], state, task)[:, 0]


def states(brightness: list[int], closed: list[int]) -> States:
    images = torch.tensor(brightness, dtype=torch.uint8)[:, None, None, None, None].expand(-1, 1, 3, 2, 2)
    return States(images, torch.tensor([[c, 0.1] for c in closed], dtype=torch.float32), torch.ones(len(closed), 1))


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
    rows, tasks = np.arange(len(successes)), np.zeros(len(successes), int)
    if next_actions is None:
        next_actions = torch.zeros(len(next_states.state), 8)
    transitions = UnlabelledTransitions(
        rows, tasks, np.array(successes), np.array(remaining), n_step, next_states, next_actions
    )
    return bellman.label(transitions, torch.Generator().manual_seed(0)).targets


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
    value = bellman.value(states([51], [0]), torch.Generator().manual_seed(0))
    assert value.item() == pytest.approx(sigmoid(0.5), abs=0.005)


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
    assert open_hand.value(states([0], [0]), generator).item() == pytest.approx(sigmoid(1.5), abs=0.005)
    assert masked.value(states([0], [0]), generator).item() == pytest.approx(sigmoid(0.5), abs=0.005)


def test_the_mask_is_that_of_the_task_and_the_gripper():
    masks = np.zeros((1, 2, 4), bool)
    masks[..., Choice.MOVE] = True
    masks[0, 0, Choice.CLOSE] = True
    targets = TargetNetworks(PeakedQ(3.0, 0.5), rate=0.1, lag=10)
    bellman = BellmanUpdater(targets, CrossEntropyMethod(EASED, 256, 8, 4), masks, 0.9, False, False, FLOAT32)
    opened, closed = bellman.value(states([0, 0], [0, 1]), torch.Generator().manual_seed(0)).tolist()
    assert opened == pytest.approx(sigmoid(1.5), abs=0.005)
    assert closed == pytest.approx(sigmoid(0.5 - 1), abs=0.005)


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
    return LabelledTransitions(rows, np.zeros(count, int), rows % 2 == 0, (rows / 100).astype(np.float32))


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
    np.testing.assert_allclose(drawn.targets, drawn.rows / 100)
    np.testing.assert_array_equal(drawn.successes, drawn.rows % 2 == 0)


def test_a_small_buffer_still_fills_a_batch():
    buffer = TrainBuffer(age_limit=10)
    buffer.add(labelled(0, 3), step=0)
    assert len(buffer.sample(8, np.random.default_rng(0))) == 8

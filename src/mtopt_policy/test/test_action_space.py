from __future__ import annotations

import numpy as np
import pytest
import torch

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Source, Step
from mtopt_core.errors import ConfigurationError
from mtopt_policy.action_space import ActionSpace, Choice, decisions

STEP = StepConfiguration()
FULL, EASED = ActionSpace.full(STEP), ActionSpace.eased(STEP)


def observe(yaw: float = 0.0, height: float = 0.2, closed: bool = False) -> Observation:
    return Observation(0, {}, np.zeros(7), np.array([0.5, -0.17, height]), yaw, closed, 0.08, height)


def episode(skill: str, *actions: Action) -> Episode:
    info = EpisodeInfo('e', 'robot1', f'{skill}-any', skill, 'scripted')
    return Episode(info, tuple(Step(observe(), action) for action in actions), observe())


@pytest.mark.parametrize('space', [FULL, EASED], ids=['base frame', 'gripper frame'])
def test_an_action_survives_encoding_and_decoding(space):
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = Action(rng.uniform(-0.07, 0.07, 3), rng.uniform(-0.5, 0.5), source=Source.LEARNED)
        seen = observe(yaw=rng.uniform(-3, 3))
        again = space.decode(space.encode(action, seen), seen)
        assert np.allclose(again.displacement, action.displacement, atol=1e-7)
        assert again.yaw_change == pytest.approx(action.yaw_change, abs=1e-6)
        assert (again.close_gripper, again.open_gripper, again.terminate) == (False, False, False)


def test_the_gripper_frame_is_turned_with_the_gripper():
    # The gripper points along the base's y: forward for the gripper is +y for the base.
    vector = EASED.encode(Action(np.array([0.0, 0.1, 0.0])), observe(yaw=np.pi / 2))
    assert np.allclose(vector[:3], [1, 0, 0], atol=1e-6)
    assert np.allclose(FULL.encode(Action(np.array([0.0, 0.1, 0.0])), observe(yaw=np.pi / 2))[:3], [0, 1, 0])


def test_an_encoded_action_is_displacement_sine_cosine_and_three_binaries():
    action = Action(np.array([0.05, -0.1, 0.02]), 0.5, open_gripper=True)
    assert np.allclose(FULL.encode(action, observe()), [0.5, -1, 0.2, np.sin(0.5), np.cos(0.5), 0, 1, 0], atol=1e-6)


def test_what_is_done_in_place_has_one_encoding():
    close = Action(np.array([0.05, 0, 0]), 0.3, close_gripper=True)
    assert EASED.encode(close, observe()).tolist() == [0, 0, 0, 0, 1, 1, 0, 0]
    assembled = EASED.assemble(torch.tensor([0.5, 0.0, 0.0, 0.6]), torch.tensor(Choice.CLOSE))
    assert assembled.tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_in_the_gripper_frame_no_yaw_brings_an_axis_of_the_base_over_its_limit():
    corner = EASED.assemble(torch.tensor([1.0, 1.0, -1.0, 0.0]), torch.tensor(Choice.MOVE)).numpy()
    for yaw in np.linspace(-np.pi, np.pi, 20):
        displacement = EASED.decode(corner, observe(yaw=yaw)).displacement
        assert np.abs(displacement).max() <= STEP.max_displacement + 1e-6


def test_only_choices_that_data_can_hold_are_allowed():
    assert EASED.choices('lift', False).tolist() == [True, True, False, False]
    assert EASED.choices('place', True).tolist() == [True, False, True, False]
    assert FULL.choices('lift', False).tolist() == [True, True, False, True]
    assert FULL.choices('lift', True).tolist() == [True, False, True, True]


def test_a_skill_without_a_finishing_choice_is_refused_by_name():
    with pytest.raises(ConfigurationError, match='stack'):
        EASED.choices('stack', False)


def test_the_scripted_ending_is_no_decision():
    move, close = Action(), Action(close_gripper=True)
    up, end = Action(source=Source.ENDING), Action(terminate=True, source=Source.ENDING)
    recorded = episode('lift', move, move, close, up, up, end)
    assert decisions(recorded, EASED) == decisions(recorded, FULL) == [0, 1, 2]


def test_a_reflex_is_no_decision_and_what_follows_it_is_one():
    move, reflex, close = Action(), Action(source=Source.REFLEX), Action(close_gripper=True)
    recorded = episode('lift', move, reflex, move, close)
    assert decisions(recorded, EASED) == decisions(recorded, FULL) == [0, 2, 3]


def test_in_the_eased_setting_the_close_of_a_lift_is_the_last_decision_however_it_was_recorded():
    move, close, end = Action(), Action(close_gripper=True), Action(terminate=True)
    recorded = episode('lift', move, close, move, move, end)
    assert decisions(recorded, EASED) == [0, 1]
    assert decisions(recorded, FULL) == [0, 1, 2, 3, 4]


def test_in_the_eased_setting_a_place_is_finished_by_opening():
    move, close, opened = Action(), Action(close_gripper=True), Action(open_gripper=True)
    assert decisions(episode('place', move, close, opened, move), EASED) == [0, 1, 2]


def test_an_episode_that_ran_into_the_step_limit_is_all_decisions():
    assert decisions(episode('lift', *[Action()] * 5), EASED) == [0, 1, 2, 3, 4]


def test_the_ending_of_a_lift_goes_up_twice_and_terminates():
    ending = EASED.ending('lift')
    assert [action.terminate for action in ending] == [False, False, True]
    assert all(action.source == Source.ENDING for action in ending)
    assert sum(action.displacement[2] for action in ending) == pytest.approx(0.2)
    assert FULL.ending('lift') == ()

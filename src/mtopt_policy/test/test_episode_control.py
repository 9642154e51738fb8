from __future__ import annotations

from collections.abc import Iterator
from itertools import count, repeat

import numpy as np
import pytest

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Action, Observation, Source, Termination
from mtopt_policy.episode_control import EpisodeControl

STEP = StepConfiguration()
MOVE, TERMINATE = Action(q_value=0.5), Action(terminate=True)
UP, END = Action(source=Source.ENDING), Action(terminate=True, source=Source.ENDING)


class Recited:
    """A policy that recites its actions."""

    name, model_version, views = 'scripted', '', ()

    def __init__(self, *actions: Action) -> None:
        self._actions = actions

    def begin(self, task: str, seed: int) -> None:
        self._left = iter(self._actions)

    def act(self, observation: Observation) -> Action:
        return next(self._left)


def seen(x: float = 0.0, yaw: float = 0.0) -> Observation:
    return Observation(0, {}, np.zeros(7), np.array([x, 0.0, 0.2]), yaw, False, 0.08, 0.2)


def run(*actions: Action, max_steps: int = 20, views: Iterator[Observation] | None = None):
    control = EpisodeControl(Recited(*actions), 'lift-any', 0, STEP.model_copy(update={'max_steps': max_steps}))
    taken = []
    for observation in views or (seen(x=0.02 * step) for step in count()):
        if (action := control.decide(observation)) is None:
            break
        taken.append(action)
    return taken, control


def test_an_arm_that_does_not_move_though_it_is_told_to_ends_the_episode():
    taken, control = run(*[MOVE] * 9, views=repeat(seen()))
    assert len(taken) == STEP.stuck_steps
    assert control.termination == Termination.STUCK


def test_a_turn_in_place_is_a_motion_and_so_is_one_across_half_a_turn():
    taken, control = run(*[MOVE] * 6, max_steps=5, views=(seen(yaw=3.1 + 0.1 * (step % 2)) for step in count()))
    assert (len(taken), control.termination) == (5, Termination.STEP_LIMIT)
    # 3.12 and -3.16 rad are the same direction.
    taken, _ = run(*[MOVE] * 5, views=(seen(yaw=(3.12, 3.12 - 2 * np.pi)[step % 2]) for step in count()))
    assert len(taken) == 2


def test_an_arm_that_presses_on_something_rises_by_reflex_which_is_no_decision_and_goes_on():
    # Nothing moves at first; the reflex, and everything after it, does.
    places = iter([seen(), seen(), seen(x=0.1), seen(x=0.2)])
    taken, control = run(MOVE, MOVE, MOVE, views=places)
    assert [action.source for action in taken] == [MOVE.source, Source.REFLEX, MOVE.source, MOVE.source]
    assert taken[1].displacement == pytest.approx([0, 0, STEP.reflex])
    assert control.termination == Termination.NONE
    assert (control.steps, len(control.decision_times)) == (4, 3)


def test_one_step_without_motion_is_forgiven_once_the_arm_moves_again():
    places = (seen(x=0.02 * (step // 2)) for step in count())
    assert run(*[MOVE] * 7, max_steps=6, views=places)[1].termination == Termination.STEP_LIMIT


def test_the_gripper_and_a_scripted_ending_may_take_their_time_in_place():
    close = Action(close_gripper=True)
    taken, control = run(close, close, close, UP, UP, END, views=repeat(seen()))
    assert taken == [close, close, close, UP, UP]
    assert control.termination == Termination.SCRIPTED_ENDING


def test_a_terminate_of_the_policy_is_an_action_and_ends_the_episode():
    taken, control = run(MOVE, TERMINATE, MOVE)
    assert taken == [MOVE, TERMINATE]
    assert control.termination == Termination.TERMINATE
    assert control.steps == 2


def test_the_end_of_a_scripted_ending_is_no_action():
    taken, control = run(MOVE, UP, UP, END)
    assert taken == [MOVE, UP, UP]
    assert control.termination == Termination.SCRIPTED_ENDING


def test_the_step_limit_ends_the_episode():
    taken, control = run(*[MOVE] * 9, max_steps=4)
    assert len(taken) == control.steps == 4
    assert control.termination == Termination.STEP_LIMIT


def test_a_decision_on_the_last_step_keeps_its_scripted_ending():
    taken, control = run(MOVE, MOVE, UP, UP, END, max_steps=2)
    assert taken == [MOVE, MOVE, UP, UP]
    assert control.termination == Termination.SCRIPTED_ENDING


def test_it_keeps_the_q_values_and_the_time_of_every_decision():
    _, control = run(MOVE, Action(), UP, UP, END)
    assert control.q_values == [0.5]
    assert len(control.decision_times) == 2

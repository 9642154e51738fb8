from __future__ import annotations

import numpy as np

from mtopt_core.episode import Action, Observation, Source, Termination
from mtopt_policy.episode_control import EpisodeControl

SEEN = Observation(0, {}, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.2)
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


def run(*actions: Action, max_steps: int = 20) -> tuple[list[Action], EpisodeControl]:
    control = EpisodeControl(Recited(*actions), 'lift-any', 0, max_steps)
    taken = []
    while (action := control.decide(SEEN)) is not None:
        taken.append(action)
    return taken, control


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

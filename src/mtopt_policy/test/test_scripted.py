from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Action, Observation, Source, Termination
from mtopt_core.errors import UnknownTaskError
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace, Choice, choice_of
from mtopt_policy.episode_control import EpisodeControl
from mtopt_policy.scripted import LIFTED_HEIGHT, ScriptedNoise, ScriptedPolicy, Target, shortest_turn

TASKS = load_tasks()
STEP = StepConfiguration()
FULL, EASED = ActionSpace.full(STEP), ActionSpace.eased(STEP)


def observe(position: np.ndarray, closed: bool, yaw: float = 0.0) -> Observation:
    return Observation(0, {}, np.zeros(7), position, yaw, closed, 0.08, float(position[2]))


def play(policy: ScriptedPolicy, task: str, seed: int) -> tuple[list[tuple[Observation, Action]], Termination]:
    """Carry a scripted episode out in an empty cell that follows every action exactly."""
    control = EpisodeControl(policy, task, seed, STEP)
    seen = observe(np.array([0.5, 0.17, 0.18]), closed=task.startswith('place'))
    steps = []
    while (action := control.decide(seen)) is not None:
        steps.append((seen, action))
        if action.terminate:
            break
        position = seen.tip_position + action.displacement
        position[2] = np.clip(position[2], 0.0, 0.45)
        closed = (seen.gripper_closed or action.close_gripper) and not action.open_gripper
        seen = observe(position, closed, seen.yaw + action.yaw_change)
    return steps, control.termination


def episodes(policy: ScriptedPolicy, task: str, number: int = 150) -> list[tuple[Observation, Action]]:
    return [step for seed in range(number) for step in play(policy, task, seed)[0]]


def choices(steps: list[tuple[Observation, Action]]) -> list[Choice]:
    return [choice_of(action) for _, action in steps]


def test_a_pick_goes_down_closes_near_the_bottom_and_lifts():
    bottoms = []
    for seed in range(40):
        steps, termination = play(ScriptedPolicy(TASKS, EASED), 'lift-any', seed)
        kinds = choices(steps)
        assert kinds.count(Choice.CLOSE) == 1
        assert kinds[-3:] == [Choice.CLOSE, Choice.MOVE, Choice.MOVE]
        assert [action.source for _, action in steps[-2:]] == [Source.ENDING, Source.ENDING]
        assert termination == Termination.SCRIPTED_ENDING
        bottoms.append(steps[-3][0].height_to_bottom)
    assert np.median(bottoms) < 0.04
    assert max(bottoms) > 0.08


def test_a_place_opens_above_the_plate_and_retracts():
    heights = []
    for seed in range(40):
        steps, termination = play(ScriptedPolicy(TASKS, EASED), 'place-bottom', seed)
        assert choices(steps)[-2:] == [Choice.OPEN, Choice.MOVE]
        assert termination == Termination.SCRIPTED_ENDING
        heights.append(steps[-2][0].height_to_bottom)
    assert 0.04 < np.median(heights) < 0.15


def test_in_the_full_setting_a_lift_ends_by_its_own_terminate_once_high_enough():
    ended = 0
    for seed in range(40):
        steps, termination = play(ScriptedPolicy(TASKS, FULL), 'lift-any', seed)
        assert all(action.source == Source.SCRIPTED for _, action in steps)
        kinds = choices(steps)
        if termination == Termination.TERMINATE and Choice.CLOSE in kinds and Choice.OPEN not in kinds:
            ended += steps[-1][0].height_to_bottom > LIFTED_HEIGHT
    assert ended > 20


def test_moves_cover_every_direction_length_and_turn_at_every_height():
    moves = [(seen, action) for seen, action in episodes(ScriptedPolicy(TASKS, EASED), 'lift-any')]
    moves = [(seen, action) for seen, action in moves if action.source == Source.SCRIPTED]
    moves = [(seen, action) for seen, action in moves if choice_of(action) == Choice.MOVE]
    heights = np.array([seen.height_to_bottom for seen, _ in moves])
    for low, high in ((0.0, 0.08), (0.08, 0.16), (0.16, 0.3)):
        here = [action for (_, action), height in zip(moves, heights, strict=True) if low <= height < high]
        sideways = np.array([action.displacement[:2] for action in here]) / STEP.max_displacement
        lengths = np.linalg.norm(sideways, axis=1)
        assert len(here) > 50
        assert lengths.max() <= 1 + 1e-9
        assert lengths.max() > 0.8
        assert (lengths < 0.2).sum() > 10
        assert set(np.floor(np.arctan2(sideways[:, 1], sideways[:, 0]) / (np.pi / 2)).astype(int)) == {-2, -1, 0, 1}
        turns = [action.yaw_change for action in here]
        assert min(turns) < -0.4
        assert max(turns) > 0.4
        assert any(action.displacement[2] > 0.01 for action in here)


@pytest.mark.parametrize('space', [EASED, FULL], ids=['eased', 'full'])
@pytest.mark.parametrize('task', ['lift-any', 'place-any'])
def test_every_choice_that_cem_may_take_occurs(space, task):
    skill = TASKS[task].skill
    taken = {
        (seen.gripper_closed, choice_of(action))
        for seen, action in episodes(ScriptedPolicy(TASKS, space), task, 600)
        if action.source == Source.SCRIPTED
    }
    for closed in {closed for closed, _ in taken}:
        allowed = {choice for choice in Choice if space.choices(skill, closed)[choice]}
        assert allowed <= {choice for state, choice in taken if state == closed}


def test_an_aimed_pick_closes_where_it_aims():
    target = np.array([0.42, 0.08, 0.05])
    noise = ScriptedNoise(aimless=0, early=0)
    policy = ScriptedPolicy(TASKS, EASED, noise, aim=lambda task, rng: Target(target, yaw=1.0))
    misses, turns = [], []
    for seed in range(60):
        steps, _ = play(policy, 'lift-can', seed)
        misses.append(np.linalg.norm(steps[-3][0].tip_position - target))
        turns.append(abs(shortest_turn(steps[-3][0].yaw, 1.0)))
    assert np.median(misses) < 0.015
    assert np.median(turns) < 0.2


@pytest.mark.parametrize(('start', 'goal', 'turn'), [(0, 1, 1), (0, 2, 2 - np.pi), (-1.5, 1.5, 3 - np.pi), (1, 1, 0)])
def test_two_fingers_turn_the_shorter_way(start, goal, turn):
    assert shortest_turn(start, goal) == pytest.approx(turn)


@pytest.mark.parametrize(('start', 'goal', 'turn'), [(-1.6, 0.35, 1.95), (1.9, 0.1, -1.8), (1.9, -1.2, np.pi - 3.1)])
def test_two_fingers_turn_the_longer_way_where_the_arm_cannot_turn_the_shorter(start, goal, turn):
    assert shortest_turn(start, goal) == pytest.approx(turn)


def test_the_same_seed_repeats_an_episode_and_another_does_not():
    policy = ScriptedPolicy(TASKS, EASED)
    first, second, third = ([dataclasses.astuple(a)[:2] for _, a in play(policy, 'lift-any', s)[0]] for s in (3, 3, 4))
    assert str(first) == str(second) != str(third)


def test_an_unknown_task_is_refused():
    with pytest.raises(UnknownTaskError, match='lift-piano'):
        ScriptedPolicy(TASKS, EASED).begin('lift-piano', 0)

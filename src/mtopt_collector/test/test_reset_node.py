from __future__ import annotations

from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus

from mtopt_core.description.cell_table import CELL
from mtopt_core.messages import stamp_of
from mtopt_msgs.action import ResetScene
from mtopt_msgs.srv import MoveTo, ResetCell
from mtopt_node.calls import ThreadedActionClient, found
from mtopt_node.conversions import time_of

SECOND = 1_000_000_000
Goal, Result = ResetScene.Goal, ResetScene.Result


class Cell:
    """Plays simulator and arm controller for a reset node."""

    def __init__(self, graph: Any, simulated: bool = True, services: bool = True) -> None:
        self.graph = graph
        self.resets: list[ResetCell.Request] = []
        self.moves: list[MoveTo.Request] = []
        self.refusal = ''
        if services:
            graph.node.create_service(ResetCell, 'simulator/reset', self._reset)
            graph.node.create_service(MoveTo, 'arm_controller/move_to', self._move)
        new_scenes = 'simulator' if simulated else 'person'
        graph.start('reset', 'mtopt_collector.reset_node', new_scenes=new_scenes)
        self._client = ThreadedActionClient(graph.node, ResetScene, 'reset/scene')
        assert found(self._client.wait_for_server, 20)

    def _reset(self, request: ResetCell.Request, response: ResetCell.Response) -> ResetCell.Response:
        self.resets.append(request)
        response.success, response.message, response.stamp = not self.refusal, self.refusal, time_of(5 * SECOND)
        return response

    def _move(self, request: MoveTo.Request, response: MoveTo.Response) -> MoveTo.Response:
        self.moves.append(request)
        response.success, response.message, response.stamp = not self.refusal, self.refusal, time_of(7 * SECOND)
        return response

    def send(self, **goal: Any) -> Any:
        return self.graph.result(self._client.send_goal_async(Goal(**goal)))

    def reset(self, **goal: Any) -> ResetScene.Result:
        handle = self.send(**goal)
        assert handle.accepted
        return self.graph.result(handle.get_result_async()).result


def test_a_new_scene_is_the_simulators_with_seed_skill_and_object_in_hand(graph):
    cell = Cell(graph)
    result = cell.reset(kind=Goal.NEW_SCENE, skill='place', holding=True, seed=11)
    assert (result.error_code, result.error_msg) == (Result.NONE, '')
    assert stamp_of(result.stamp) == 5 * SECOND
    (request,) = cell.resets
    assert (request.seed, request.skill, request.holding) == (11, 'place', True)
    assert not cell.moves


def test_a_kept_scene_moves_the_arm_above_the_skills_bin_and_opens_an_empty_hand(graph):
    cell = Cell(graph)
    for seed in range(3):
        assert cell.reset(kind=Goal.KEEP_SCENE, skill='lift', seed=seed).error_code == Result.NONE
    bin_ = CELL.bin('right_bin')
    assert all(bin_.contains(*move.position[:2]) for move in cell.moves)
    assert all(move.gripper == MoveTo.Request.OPEN for move in cell.moves)
    assert len({tuple(move.position) for move in cell.moves}) == 3
    assert not cell.resets


def test_the_same_seed_gives_the_same_start_pose(graph):
    cell = Cell(graph)
    for _ in range(2):
        cell.reset(kind=Goal.KEEP_SCENE, skill='lift', seed=3)
    assert np.array_equal(cell.moves[0].position, cell.moves[1].position)
    assert cell.moves[0].yaw == cell.moves[1].yaw


def test_a_held_object_is_carried_to_the_other_bin(graph):
    cell = Cell(graph)
    result = cell.reset(kind=Goal.KEEP_SCENE, skill='place', holding=True, seed=1)
    assert stamp_of(result.stamp) == 7 * SECOND
    assert cell.moves[0].gripper == MoveTo.Request.KEEP
    assert CELL.bin('left_bin').contains(*cell.moves[0].position[:2])


def test_what_the_simulator_or_the_arm_refuses_is_passed_on(graph):
    cell = Cell(graph)
    cell.refusal = 'out of order today'
    for kind, code in ((Goal.NEW_SCENE, Result.SIMULATOR_FAILED), (Goal.KEEP_SCENE, Result.ARM_FAILED)):
        result = cell.reset(kind=kind, skill='lift')
        assert result.error_code == code
        assert 'out of order today' in result.error_msg


def test_a_missing_simulator_is_named(graph):
    result = Cell(graph, services=False).reset(kind=Goal.NEW_SCENE, skill='lift')
    assert result.error_code == Result.TIMEOUT
    assert 'simulator/reset' in result.error_msg


def test_a_real_cells_new_scene_needs_a_person(graph):
    result = Cell(graph, simulated=False).reset(kind=Goal.NEW_SCENE, skill='lift')
    assert result.error_code == Result.NEEDS_PERSON
    assert 'put every object back' in result.error_msg


def test_an_unknown_skill_and_a_negative_seed_are_named(graph):
    cell = Cell(graph)
    for goal, wrong in (({'skill': 'juggle'}, 'juggle'), ({'skill': 'lift', 'seed': -5}, '-5')):
        result = cell.reset(kind=Goal.KEEP_SCENE, **goal)
        assert result.error_code == Result.UNKNOWN
        assert wrong in result.error_msg


def test_one_goal_is_carried_out_at_a_time(graph):
    cell = Cell(graph, services=False)
    first, second = (cell.send(kind=Goal.NEW_SCENE, skill='lift') for _ in range(2))
    refused = graph.result(second.get_result_async()).result
    assert refused.error_code == Result.BUSY
    assert 'another reset is running' in refused.error_msg
    assert graph.result(first.get_result_async()).result.error_code == Result.TIMEOUT
    third = cell.send(kind=Goal.NEW_SCENE, skill='lift')
    graph.result(third.cancel_goal_async())
    answer = graph.result(third.get_result_async())
    assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_CANCELED, Result.CANCELED)

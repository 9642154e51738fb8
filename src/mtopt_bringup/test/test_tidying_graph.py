"""The whole graph when the robot makes its own scenes: it puts back, stirs, and goes on, or calls a person."""

from __future__ import annotations

from running_cell import RunningCell
from witness import Witness

from mtopt_core.configuration import load_cell
from mtopt_msgs.action import ResetScene
from mtopt_node.calls import ThreadedActionClient, found


def test_a_robot_tidies_its_cell_by_its_own_skills_within_all_limits(tmp_path):
    with RunningCell(tmp_path, new_scenes='robot') as cell, Witness('robot1', load_cell(), cell.domain) as witness:
        # A collector that has just started cancels what reset and policy do until both have answered; then it collects.
        cell.collect(task='lift-any', policy='scripted')
        cell.actions.clear()
        client = ThreadedActionClient(cell._node, ResetScene, '/robot1/reset/scene')
        assert found(client.wait_for_server, 30)
        told: list[str] = []
        goal = ResetScene.Goal(kind=ResetScene.Goal.NEW_SCENE, skill='lift', seed=3)
        sent = client.send_goal_async(goal, feedback_callback=lambda message: told.append(message.feedback.message))
        result = cell.wait(cell.wait(sent).get_result_async()).result
        # A blind script may bring nothing up; then it must say so to a person, and not go on for ever.
        assert result.error_code in (ResetScene.Result.NONE, ResetScene.Result.NEEDS_PERSON), result.error_msg
        assert any('putting back' in one for one in told)
        assert any('stirring' in one for one in told)
        strokes = [action for action in cell.actions if action.episode_id == 'reset-3']
        assert len(strokes) == 24
        if result.error_code == ResetScene.Result.NEEDS_PERSON:
            assert 'outside the bins' in result.error_msg
        assert {command.part for command in witness.commands} == {'arm', 'gripper'}
        assert len(witness.commands) > len(cell.actions)
        assert witness.violations() == []

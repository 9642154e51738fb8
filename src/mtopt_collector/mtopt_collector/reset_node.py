"""Makes the cell ready for an episode: a new scene, or only the arm at a start pose above the skill's bin."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup

from mtopt_collector.cell_node import CELL_FILE, TASKS_FILE, CellNode
from mtopt_core.description.cell_table import start_pose
from mtopt_core.errors import MtoptError
from mtopt_core.tasks import load_tasks
from mtopt_msgs.action import ResetScene
from mtopt_msgs.srv import MoveTo, ResetCell
from mtopt_node.calls import CallError
from mtopt_node.node import OK, WARN, run
from mtopt_node.parameters import Parameter

SIMULATOR_TIMEOUT = 20.0
MOVE_TIMEOUT = 60.0


class ResetError(MtoptError):
    """The cell could not be made ready; `code` is one of ResetScene's error codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ResetNode(CellNode):
    """Serves `~/scene`."""

    NAME = 'reset'
    PARAMETERS = (
        CELL_FILE,
        TASKS_FILE,
        Parameter('simulated', False, 'a simulator makes new scenes; otherwise a person does'),
    )

    def configure(self) -> None:
        """Offer the action and find simulator and arm."""
        self._skills = load_tasks(self.value('tasks_file')).skills
        group = ReentrantCallbackGroup()
        self._move = self.create_client(MoveTo, 'arm_controller/move_to', callback_group=group)
        self._simulator = self.create_client(ResetCell, 'simulator/reset', callback_group=group)
        self._server = ActionServer(
            self,
            ResetScene,
            '~/scene',
            self._reset,
            callback_group=group,
            goal_callback=lambda _: GoalResponse.ACCEPT if self.active else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    async def _reset(self, handle: ServerGoalHandle) -> ResetScene.Result:
        goal, result = handle.request, ResetScene.Result()

        def given_up() -> bool:
            return bool(handle.is_cancel_requested)

        try:
            if goal.skill not in self._skills:
                raise ResetError(
                    ResetScene.Result.UNKNOWN, f'unknown skill {goal.skill!r}; known: {", ".join(self._skills)}'
                )
            if goal.kind == ResetScene.Goal.NEW_SCENE:
                result.stamp = await self._new_scene(goal, given_up)
            else:
                result.stamp = await self._start_pose(goal, given_up)
        except ResetError as error:
            result.error_code, result.error_msg = error.code, str(error)
            handle.abort()
            self.report(WARN, str(error))
        except CallError as error:
            result.error_code, result.error_msg = ResetScene.Result.TIMEOUT, str(error)
            handle.canceled() if given_up() else handle.abort()
            self.report(WARN, str(error))
        else:
            handle.succeed()
            self.report(OK, 'running')
        return result

    async def _new_scene(self, goal: ResetScene.Goal, given_up: Callable[[], bool]) -> object:
        if not self.value('simulated'):
            raise ResetError(
                ResetScene.Result.NEEDS_PERSON,
                'the scene is spent: put every object back into the right bin and mix them, then call '
                f'/{self.robot}/collector/resume',
            )
        request = ResetCell.Request(seed=goal.seed, skill=goal.skill, holding=goal.holding)
        response = await self.ask(self._simulator, request, SIMULATOR_TIMEOUT, given_up)
        if not response.success:
            raise ResetError(ResetScene.Result.SIMULATOR_FAILED, f'the simulator did not reset: {response.message}')
        return response.stamp

    async def _start_pose(self, goal: ResetScene.Goal, given_up: Callable[[], bool]) -> object:
        region = self._skills[goal.skill].start_region
        position, yaw = start_pose(region, np.random.default_rng(goal.seed))
        gripper = MoveTo.Request.KEEP if goal.holding else MoveTo.Request.OPEN
        request = MoveTo.Request(position=position, yaw=yaw, gripper=gripper)
        response = await self.ask(self._move, request, MOVE_TIMEOUT, given_up)
        if not response.success:
            raise ResetError(ResetScene.Result.ARM_FAILED, f'the arm did not reach its start pose: {response.message}')
        return response.stamp


def main() -> int:
    """Run the node."""
    return run(ResetNode)


if __name__ == '__main__':
    sys.exit(main())

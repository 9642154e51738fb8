"""Makes the cell ready for an episode: a new scene, or only the arm at a start pose above the skill's bin."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import numpy as np
from rclpy.action import CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client

from mtopt_collector.cell_node import CELL_FILE, TASKS_FILE, CellNode
from mtopt_collector.reset_room import check_room
from mtopt_collector.robot_hands_node import MOVE_TIMEOUT, RobotHands
from mtopt_collector.tidying import Budget, StuckError, Tidying
from mtopt_core.description.cell_table import CELL, start_pose
from mtopt_core.errors import MtoptError
from mtopt_core.tasks import load_tasks
from mtopt_msgs.action import ResetScene
from mtopt_msgs.srv import MoveTo, ResetCell
from mtopt_node.calls import CallError, GoalServer
from mtopt_node.node import OK, WARN, run
from mtopt_node.parameters import Parameter

SIMULATOR, ROBOT, PERSON = 'simulator', 'robot', 'person'
SIMULATOR_TIMEOUT = 20.0


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
        Parameter('new_scenes', ROBOT, 'who makes new scenes', choices=(SIMULATOR, ROBOT, PERSON)),
        Parameter('picking', 'scripted', 'policy that picks when the robot does', choices=('scripted', 'learned')),
        Parameter('budget', 600.0, 's the robot may take to make a scene anew', minimum=1.0),
    )

    def configure(self) -> None:
        """Offer the action and find simulator and arm.

        Raises:
            ConfigurationError: The cell's limits or the table have no room for what a reset does.
        """
        self._skills = load_tasks(self.value('tasks_file')).skills
        regions = [skill.start_region for skill in self._skills.values()]
        check_room(self.cell.limits, regions, self.value('new_scenes') == ROBOT)
        self._busy = False
        group = ReentrantCallbackGroup()
        self._move = self.create_client(MoveTo, 'arm_controller/move_to', callback_group=group)
        self._simulator = self.create_client(ResetCell, 'simulator/reset', callback_group=group)
        self._hands = RobotHands(self, self._move, self.value('picking'), group)
        self._server = GoalServer(
            self,
            ResetScene,
            '~/scene',
            self._reset,
            callback_group=group,
            goal_callback=lambda _: GoalResponse.ACCEPT if self.active else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    async def _reset(self, handle: ServerGoalHandle) -> ResetScene.Result:
        """Carry out one goal at a time: there is one arm."""
        result = ResetScene.Result()
        if self._busy:
            handle.abort()
            result.error_code = ResetScene.Result.BUSY
            result.error_msg = 'another reset is running; wait for it or cancel it'
            return result
        self._busy = True
        try:
            result.stamp = await self._make_ready(handle)
        except Exception as error:
            result.error_code, result.error_msg = self._told(error, self._given_up(handle))
            handle.canceled() if handle.is_cancel_requested else handle.abort()
            self.report(WARN, result.error_msg)
        else:
            handle.succeed()
            self.report(OK, 'running')
        finally:
            self._busy = False
        return result

    def _told(self, error: Exception, given_up: bool) -> tuple[int, str]:
        """Return the code and the words that tell who asked for a reset what went wrong."""
        if isinstance(error, ResetError):
            return error.code, str(error)
        if isinstance(error, CallError):
            return ResetScene.Result.CANCELED if given_up else ResetScene.Result.TIMEOUT, str(error)
        self.get_logger().error(''.join(traceback.format_exception(error)))
        return ResetScene.Result.UNKNOWN, f'{type(error).__name__}: {error}'

    async def _make_ready(self, handle: ServerGoalHandle) -> object:
        goal = handle.request
        if goal.skill not in self._skills:
            raise ResetError(
                ResetScene.Result.UNKNOWN, f'unknown skill {goal.skill!r}; known: {", ".join(self._skills)}'
            )
        if goal.seed < 0:
            raise ResetError(ResetScene.Result.UNKNOWN, f'seed {goal.seed} is negative; use 0 or more')
        if goal.kind == ResetScene.Goal.NEW_SCENE:
            return await self._new_scene(goal, handle)
        return await self._start_pose(goal, handle)

    def _given_up(self, handle: ServerGoalHandle) -> bool:
        return bool(handle.is_cancel_requested) or not self.active

    async def _new_scene(self, goal: ResetScene.Goal, handle: ServerGoalHandle) -> object:
        how = self.value('new_scenes')
        if how == SIMULATOR:
            return await self._simulated_scene(goal, handle)
        if how == ROBOT and not goal.holding:
            await self._tidy(goal.seed, handle)
            return await self._start_pose(goal, handle)
        raise ResetError(ResetScene.Result.NEEDS_PERSON, self._request('the scene is spent: put every object back'))

    def _request(self, what: str) -> str:
        return f'{what} into the right bin and mix them'

    async def _simulated_scene(self, goal: ResetScene.Goal, handle: ServerGoalHandle) -> object:
        request = ResetCell.Request(seed=goal.seed, skill=goal.skill, holding=goal.holding)
        response = await self._ask(handle, self._simulator, request, SIMULATOR_TIMEOUT)
        if not response.success:
            raise ResetError(ResetScene.Result.SIMULATOR_FAILED, f'the simulator did not reset: {response.message}')
        return response.stamp

    async def _tidy(self, seed: int, handle: ServerGoalHandle) -> None:
        """Let the robot make the scene anew by its own skills."""
        budget = Budget(seconds=self.value('budget'))
        self._hands.begin(f'reset-{seed}', lambda: self._given_up(handle))

        def tell(what: str) -> None:
            handle.publish_feedback(ResetScene.Feedback(message=what))
            self.report(OK, what)

        try:
            await Tidying(self._hands, CELL, budget, tell).run(np.random.default_rng(seed))
        except StuckError as error:
            raise ResetError(ResetScene.Result.NEEDS_PERSON, str(error)) from None

    async def _ask(self, handle: ServerGoalHandle, client: Client, request: Any, timeout: float) -> Any:
        return await self.ask(client, request, timeout, lambda: self._given_up(handle))

    async def _start_pose(self, goal: ResetScene.Goal, handle: ServerGoalHandle) -> object:
        region = self._skills[goal.skill].start_region
        position, yaw = start_pose(region, np.random.default_rng(goal.seed))
        gripper = MoveTo.Request.KEEP if goal.holding else MoveTo.Request.OPEN
        request = MoveTo.Request(position=position, yaw=yaw, gripper=gripper)
        response = await self._ask(handle, self._move, request, MOVE_TIMEOUT)
        if not response.success:
            raise ResetError(ResetScene.Result.ARM_FAILED, f'the arm did not reach its start pose: {response.message}')
        return response.stamp


def main() -> int:
    """Run the node."""
    return run(ResetNode)


if __name__ == '__main__':
    sys.exit(main())

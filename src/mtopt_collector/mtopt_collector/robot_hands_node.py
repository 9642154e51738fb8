"""The robot as tidying uses it: moves by the arm controller, picks by the policy node, both over ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.callback_groups import CallbackGroup
from rclpy.client import Client
from rclpy.task import Future

from mtopt_collector.cell_node import CellNode
from mtopt_collector.tidying import ArmBlockedError
from mtopt_core.episode import Action
from mtopt_core.messages import stamp_of
from mtopt_msgs import msg
from mtopt_msgs.action import RunPolicy
from mtopt_msgs.srv import MoveTo
from mtopt_node.calls import CallError, ThreadedActionClient, result_of
from mtopt_node.conversions import action_to_message
from mtopt_node.qos import KEPT_COMMANDS, OBSERVATIONS

MOVE_TIMEOUT = 60.0
PICK_TIMEOUT = 120.0
STEP_TIMEOUT = 10.0
# m between the closed fingers: less is nothing.
SOMETHING = 0.004
PICK_TASK = 'lift-any'
GRIPPER = {'keep': MoveTo.Request.KEEP, 'open': MoveTo.Request.OPEN, 'close': MoveTo.Request.CLOSE}


class RobotHands:
    """The `mtopt_collector.tidying.Hands` of one robot. Everything raises a CallError once it is given up.

    Args:
        node: Whose executor does the waiting.
        move: Client of the arm controller's moves.
        picking: Policy that picks; the script does where it has not learned yet.
        group: Reentrant.
    """

    def __init__(self, node: CellNode, move: Client, picking: str, group: CallbackGroup) -> None:
        self._node = node
        self._move = move
        self._picking = picking
        self._policy = ThreadedActionClient(node, RunPolicy, 'policy/run', callback_group=group)
        self._seen: msg.Observation | None = None
        self._answer: msg.Step | None = None
        self._actions = node.create_publisher(msg.Action, 'action', KEPT_COMMANDS)
        node.create_subscription(msg.Observation, 'observation', self._see, OBSERVATIONS)
        node.create_subscription(msg.Step, 'step', self._hear, KEPT_COMMANDS)

    def begin(self, name: str, given_up: Callable[[], bool]) -> None:
        """Begin a run: its name in the actions, and what tells that nobody wants it any more."""
        self._name, self._given_up = name, given_up
        self._steps = 0
        self._at_rest = Time()

    def seconds(self) -> float:
        """Return steady time, s."""
        return self._node.now

    async def move(self, position: np.ndarray, yaw: float, gripper: str) -> None:
        """Move by the arm controller."""
        request = MoveTo.Request(position=position, yaw=yaw, gripper=GRIPPER[gripper])
        response = await self._node.ask(self._move, request, MOVE_TIMEOUT, self._given_up)
        if not response.success:
            raise ArmBlockedError(response.message)
        self._at_rest = response.stamp
        await self._see_the_cell(stamp_of(response.stamp))

    async def pick(self, seed: int) -> bool:
        """Pick by the policy."""
        result = await self._run_policy(self._picking, seed)
        if result.error_code == RunPolicy.Result.NO_MODEL:
            result = await self._run_policy('scripted', seed)
        if result.error_code != RunPolicy.Result.NONE:
            raise CallError(f'the policy did not pick: {result.error_msg}')
        seen = await self._see_the_cell(stamp_of(result.final_stamp))
        return bool(seen.gripper_closed and seen.gripper_width > SOMETHING)

    async def step(self, displacement: np.ndarray) -> None:
        """Displace the tip by an action; what the arm controller refuses is not done."""
        seen = await self._see_the_cell(0)
        number = self._steps
        self._steps += 1
        action = Action(displacement=displacement)
        self._actions.publish(action_to_message(action, stamp_of(seen.header.stamp), self._name, number))

        def answered() -> bool:
            answer = self._answer
            return answer is not None and (answer.episode_id, answer.step) == (self._name, number)

        await self._until(answered, STEP_TIMEOUT, 'the arm controller did not answer an action')
        assert self._answer is not None, 'waited for'
        if self._answer.accepted:
            await self._see_the_cell(stamp_of(self._answer.end))

    async def _run_policy(self, policy: str, seed: int) -> RunPolicy.Result:
        await self._until(self._policy.server_is_ready, STEP_TIMEOUT, 'the policy node is not there')
        goal = RunPolicy.Goal(
            episode_id=f'{self._name}-pick-{seed}', task=PICK_TASK, policy=policy, seed=seed, ready=self._at_rest
        )
        handle = await self._answer_of(self._policy.send_goal_async(goal), STEP_TIMEOUT)
        if not handle.accepted:
            raise CallError('the policy node refused to pick; it may be busy')
        try:
            answer = await self._answer_of(handle.get_result_async(), PICK_TIMEOUT)
            return result_of(answer, 'the policy node')
        except CallError:
            handle.cancel_goal_async()
            raise

    async def _answer_of(self, future: Future, timeout: float) -> Any:
        future.add_done_callback(lambda _: self._node.recheck())
        await self._until(future.done, timeout, 'the policy node did not answer in time')
        return future.result()

    async def _see_the_cell(self, stamp: int) -> msg.Observation:
        """Wait for an observation at or after a stamp, ns."""

        def shown() -> bool:
            return self._seen is not None and stamp_of(self._seen.header.stamp) >= stamp

        await self._until(shown, STEP_TIMEOUT, 'no observation came after the arm had moved; look at the cameras')
        assert self._seen is not None, 'waited for'
        return self._seen

    async def _until(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        met = await self._node.until(lambda: condition() or self._given_up(), timeout)
        if self._given_up() or not met:
            raise CallError('given up, nobody waits for it any more' if self._given_up() else otherwise)

    def _see(self, observation: msg.Observation) -> None:
        self._seen = observation
        self._node.recheck()

    def _hear(self, step: msg.Step) -> None:
        self._answer = step
        self._node.recheck()

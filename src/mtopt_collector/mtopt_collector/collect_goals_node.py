"""The collector's action: one goal is worked on, one may wait, and each is completed from the collection's thread."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from rclpy.action import CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from mtopt_collector.cell_node import CellNode
from mtopt_collector.collection import Fault, State
from mtopt_msgs.action import CollectEpisode
from mtopt_node.calls import GoalServer


@dataclass(frozen=True)
class Request:
    """A goal and the future its result is put into."""

    handle: ServerGoalHandle
    result: Future


class CollectGoals:
    """Serves `~/collect`.

    Args:
        node: Whose; goals are accepted while it is active.
    """

    def __init__(self, node: CellNode) -> None:
        self._node = node
        self._waiting: queue.Queue[Request] = queue.Queue(maxsize=1)
        self._running: Request | None = None
        # A goal waits for its result, which the collector's own thread puts there.
        self._server = GoalServer(
            node,
            CollectEpisode,
            '~/collect',
            self._collect,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=lambda _: GoalResponse.ACCEPT if node.active else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def next(self, timeout: float) -> CollectEpisode.Goal | None:
        """Take the goal that waits; it is worked on until `complete` is called.

        Args:
            timeout: s to wait for one.
        """
        try:
            self._running = self._waiting.get(timeout=timeout) if timeout else self._waiting.get_nowait()
        except queue.Empty:
            return None
        return self._running.handle.request

    @property
    def cancelled(self) -> bool:
        """Whether who asked for the running goal wants it no more."""
        running = self._running
        return running is not None and running.handle.is_cancel_requested

    def tell(self, state: State, task: str) -> None:
        """Tell who asked for the running goal, if there is one, what is done."""
        if self._running is not None:
            self._running.handle.publish_feedback(CollectEpisode.Feedback(state=state, task=task))

    def complete(self, result: CollectEpisode.Result) -> None:
        """Answer the running goal."""
        running, self._running = self._running, None
        executor = self._node.executor
        assert running is not None, 'there is a goal to answer'
        assert executor is not None, 'the goal came through it'
        running.result.set_result(result)
        executor.wake()

    async def _collect(self, handle: ServerGoalHandle) -> CollectEpisode.Result:
        request = Request(handle, Future())
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            handle.abort()
            return CollectEpisode.Result(error_code=Fault.BUSY, error_msg='another goal waits already; try again later')
        result = await request.result
        if result.error_code == CollectEpisode.Result.NONE:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

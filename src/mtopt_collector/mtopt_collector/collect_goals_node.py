"""The collector's action: one goal is worked on, one may wait, and each is completed from the collection's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
        node: Whose, with one thread; goals are accepted while it is active.
        refusal: Tells why none is worked on now, empty when one is.
    """

    def __init__(self, node: CellNode, refusal: Callable[[], str]) -> None:
        self._node, self._refusal = node, refusal
        self._arrival = threading.Condition()
        self._waiting: Request | None = None
        self._running: Request | None = None
        # A goal waits for its result, which the collector's own thread puts there.
        self._server = GoalServer(
            node,
            CollectEpisode,
            '~/collect',
            self._collect,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=lambda _: GoalResponse.ACCEPT if node.active else GoalResponse.REJECT,
            cancel_callback=self._cancel,
        )

    def next(self, timeout: float) -> CollectEpisode.Goal | None:
        """Take the goal that waits; it is worked on until `complete` is called.

        Args:
            timeout: s to wait for one.
        """
        with self._arrival:
            self._arrival.wait_for(lambda: self._waiting is not None, timeout)
            request, self._waiting = self._waiting, None
            self._running = request
        if request is None:
            return None
        refusal = self._refusal()
        if refusal:
            self.complete(_refused(refusal))
            return None
        return request.handle.request

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
        assert running is not None, 'there is a goal to answer'
        self._answer(running, result)

    def refuse_waiting(self) -> None:
        """Answer the goal that waits, if there is one: nothing is collected any more."""
        waiting = self._withdraw()
        if waiting is not None:
            self._answer(waiting, _refused(self._refusal()))

    def _withdraw(self, handle: ServerGoalHandle | None = None) -> Request | None:
        """Return the request that waits, of this goal if one is given, and let it wait no more."""
        with self._arrival:
            waiting = self._waiting
            if waiting is None or not (handle is None or handle is waiting.handle):
                return None
            self._waiting = None
            return waiting

    def _answer(self, request: Request, result: CollectEpisode.Result) -> None:
        executor = self._node.executor
        assert executor is not None, 'the goal came through it'
        request.result.set_result(result)
        executor.wake()

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """Let the goal that runs see it; one that waits is answered as soon as it is noted that it was cancelled."""
        waiting = self._withdraw(handle)
        if waiting is not None:
            self._answer(waiting, _cancelled())
        return CancelResponse.ACCEPT

    async def _collect(self, handle: ServerGoalHandle) -> CollectEpisode.Result:
        result = self._turned_away(handle)
        if result is None:
            request = Request(handle, Future())
            with self._arrival:
                self._waiting = request
                self._arrival.notify()
            result = await request.result
        if result.error_code == CollectEpisode.Result.NONE:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _turned_away(self, handle: ServerGoalHandle) -> CollectEpisode.Result | None:
        """Return the result of a goal that is not even to wait."""
        refusal = self._refusal()
        if handle.is_cancel_requested:
            return _cancelled()
        if refusal:
            return _refused(refusal)
        if self._waiting is not None:
            return CollectEpisode.Result(error_code=Fault.BUSY, error_msg='another goal waits already; try again later')
        return None


def _refused(reason: str) -> CollectEpisode.Result:
    return CollectEpisode.Result(error_code=Fault.BUSY, error_msg=reason)


def _cancelled() -> CollectEpisode.Result:
    return CollectEpisode.Result(error_code=Fault.CANCELED, error_msg='cancelled before it was begun')

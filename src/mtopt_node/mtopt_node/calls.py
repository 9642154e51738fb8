"""Serving actions, and waiting for those and services of other nodes: steady timeouts, errors that name them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient, ActionServer
from rclpy.action.client import ClientGoalHandle
from rclpy.client import Client
from rclpy.task import Future

from mtopt_core.errors import MtoptError


class CallError(MtoptError):
    """A service or an action of another node is missing, refused or does not answer."""


class NodeLostError(CallError):
    """The node that was to answer died or hangs."""


class ThreadedActionClient(ActionClient):
    """An action client that may be used from another thread than its executor's.

    rclpy's own sends a request and only then notes it; an answer that the executor takes in between is dropped, and
    whoever waits for it waits for ever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = threading.Lock()
        super().__init__(*args, **kwargs)

    def send_goal_async(self, *args: Any, **kwargs: Any) -> Future:
        """Send a goal; the future's result is its handle."""
        with self._sending:
            return super().send_goal_async(*args, **kwargs)

    def _get_result_async(self, goal_handle: ClientGoalHandle) -> Future:
        with self._sending:
            return super()._get_result_async(goal_handle)

    def _cancel_goal_async(self, goal_handle: ClientGoalHandle) -> Future:
        with self._sending:
            return super()._cancel_goal_async(goal_handle)

    async def execute(self, taken_data: Any) -> None:
        """Take in answers, once every request sent is noted."""
        with self._sending:
            pass
        await super().execute(taken_data)


RESULT_KEPT = 30.0
"""s for which a server keeps a goal's result; clients ask for it as soon as the goal is accepted."""


class GoalServer(ActionServer):
    """An action server that forgets its goals soon after they have ended.

    rclpy's own keeps them for 15 minutes, looks through all of them at everything it does, and publishes the state of
    each whenever one changes: of a robot that finishes an episode every second there are hundreds.

    Args:
        kept: s for which a result may still be fetched.
    """

    def __init__(self, *args: Any, kept: float = RESULT_KEPT, **kwargs: Any) -> None:
        super().__init__(*args, result_timeout=kept, **kwargs)

    @property
    def goals(self) -> int:
        """Number of goals that are being worked on or whose results are kept."""
        return len(self._goal_handles)


# Asked while waiting: why the answer will never come, empty while it may. A dead server stays in DDS for a while.
Lost = Callable[[], str]

LOOK_PERIOD = 0.1  # s
STOPPING = 5.0  # s that a cancelled goal may take to end


SETTLING = 0.2  # s


def _never() -> str:
    return ''


def found(wait: Callable[[float], bool], timeout: float) -> bool:
    """Wait for a service or an action; return whether it is there and will answer.

    Two processes find each other one after the other. A server that answers before it has found its client waits for
    a moment only, and then drops the answer: who has only just found a server gives it time.

    Args:
        wait: `wait_for_service` or `wait_for_server` of the client.
        timeout: s.
    """
    if wait(0.0):
        return True
    if not wait(timeout):
        return False
    time.sleep(SETTLING)
    return True


def wait_for(future: Future, timeout: float, what: str, lost: Lost = _never) -> Any:
    """Wait for a future that another thread of the executor completes.

    Only from a callback in a reentrant group of a node with several threads, or from a thread outside the executor.

    Args:
        future: What to wait for.
        timeout: s of wall time.
        what: Named in the error.
        lost: Ends the waiting early.

    Raises:
        NodeLostError: No answer will come.
        CallError: None came in time.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    deadline = time.monotonic() + timeout
    while not done.wait(LOOK_PERIOD):
        reason, late = lost(), time.monotonic() > deadline
        if reason or late:
            future.cancel()
        if reason:
            raise NodeLostError(f'{what}: {reason}')
        if late:
            raise CallError(f'{what} did not answer within {timeout:g} s; is its node alive?')
    return future.result()


def call(client: Client, request: Any, timeout: float, lost: Lost = _never) -> Any:
    """Call a service and wait for its response.

    Raises:
        NodeLostError: No answer will come.
        CallError: The service is not there or does not answer in time.
    """
    what = f'service {client.srv_name}'
    if not found(client.wait_for_service, timeout):
        raise CallError(f'{what} is not there after {timeout:g} s; is its node running?')
    return wait_for(client.call_async(request), timeout, what, lost)


def run_goal(
    client: ActionClient,
    goal: Any,
    timeout: float,
    feedback: Callable[[Any], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    lost: Lost = _never,
) -> Any:
    """Send a goal and wait for its result; on a timeout or a cancel the goal is cancelled.

    Args:
        client: The action's client.
        goal: What to do.
        timeout: s of wall time for the whole goal.
        feedback: Called with each feedback message.
        cancelled: Asked now and then; true cancels the goal and waits for its result.
        lost: Ends the waiting early, without a result.

    Raises:
        NodeLostError: No result will come.
        CallError: The action is not there, refuses the goal, does not finish in time, crashes or has forgotten the
            result.
    """
    what = f'action {client._action_name}'
    if not found(client.wait_for_server, min(timeout, 10.0)):
        raise CallError(f'{what} is not there; is its node running?')
    callback = None if feedback is None else lambda message: feedback(message.feedback)
    handle = wait_for(client.send_goal_async(goal, feedback_callback=callback), min(timeout, 10.0), what, lost)
    if not handle.accepted:
        raise CallError(f'{what} refused the goal; it may be busy')
    result = handle.get_result_async()
    done = threading.Event()
    result.add_done_callback(lambda _: done.set())
    deadline = time.monotonic() + timeout
    asked = False
    while not done.wait(LOOK_PERIOD):
        reason, late = lost(), time.monotonic() > deadline
        if reason:
            handle.cancel_goal_async()
            raise NodeLostError(f'{what}: {reason}')
        if not asked and (late or (cancelled is not None and cancelled())):
            handle.cancel_goal_async()
            asked, deadline = True, time.monotonic() + STOPPING
        elif asked and late:
            raise CallError(f'{what} did not finish, nor stop when cancelled; restart its node')
    return result_of(result.result(), what)


def result_of(answer: Any, what: str) -> Any:
    """Return the result in the answer to a request for one.

    Raises:
        CallError: The result is an empty one: the server has forgotten the goal, or what carried it out has crashed.
    """
    if answer.status == GoalStatus.STATUS_UNKNOWN:
        raise CallError(f'{what} does not know the goal any more; its result was asked for too late')
    if answer.status != GoalStatus.STATUS_SUCCEEDED and not answer.result.error_code:
        raise CallError(f'{what} ended without a result; the log of its node says why')
    return answer.result

"""One robot's part of the policy node: its topics, its action, and the control of its episodes."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from rclpy.action import CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from sensor_msgs.msg import CompressedImage

from mtopt_core.configuration import CellConfiguration, StepConfiguration
from mtopt_core.episode import Observation, Termination
from mtopt_core.errors import CheckpointError, ConfigurationError, MtoptError, UnknownTaskError
from mtopt_core.messages import stamp_of
from mtopt_msgs import msg
from mtopt_msgs.action import RunPolicy
from mtopt_node.calls import GoalServer
from mtopt_node.conversions import action_to_message, time_of
from mtopt_node.discovery import node_names
from mtopt_node.node import ERROR, Node
from mtopt_node.qos import KEPT_COMMANDS, LATCHED, OBSERVATIONS
from mtopt_policy.episode_control import EpisodeControl
from mtopt_policy.inbox import Inbox, WaitCancelledError
from mtopt_policy.policy import Policy

DISCOVERY_PERIOD = 0.02  # s


class EpisodeFaultError(MtoptError):
    """An episode cannot go on; `code` is one of RunPolicy's error codes."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class PolicySource(Protocol):
    """Where a robot's policies come from: the policy node."""

    def policy_for(self, name: str, exploration: float, step: StepConfiguration) -> Policy:
        """Return a policy for one episode of a robot whose steps are such.

        Raises:
            ConfigurationError: There is none of that name.
            UnknownTaskError: It is another task's, and there is no such task.
            CheckpointError: It needs a checkpoint and there is none.
        """

    @property
    def taking_goals(self) -> bool:
        """Whether episodes may be run."""

    def report_health(self) -> None:
        """Report how the node is."""


@dataclass(frozen=True)
class Place:
    """What differs from robot to robot.

    Attributes:
        prefix: In front of every topic's name: empty for the node's own namespace, else `/<robot>/`.
        cell: The robot's configuration.
        observation_timeout: s of wall time for a step and the observation after it.
    """

    prefix: str
    cell: CellConfiguration
    observation_timeout: float


class RobotControl:
    """Publishes actions, waits for each to be carried out, decides on the observation after it.

    Args:
        node: Whose topics these are.
        source: Where policies come from.
        place: Which robot.
    """

    def __init__(self, node: Node, source: PolicySource, place: Place) -> None:
        self._node, self._source, self._place = node, source, place
        self._episode = threading.Lock()
        self._inbox = Inbox()
        self._decided_on = -1
        messages = MutuallyExclusiveCallbackGroup()
        for camera in place.cell.cameras:
            node.create_subscription(
                CompressedImage,
                f'{place.prefix}cameras/{camera}/compressed',
                partial(self._on_image, camera),
                OBSERVATIONS,
                callback_group=messages,
            )
        node.create_subscription(
            msg.Observation,
            f'{place.prefix}observation',
            self._on_observation,
            OBSERVATIONS,
            callback_group=messages,
        )
        self._steps = node.create_subscription(
            msg.Step, f'{place.prefix}step', self._inbox.add_step, KEPT_COMMANDS, callback_group=messages
        )
        self._actions = node.create_publisher(msg.Action, f'{place.prefix}action', KEPT_COMMANDS)
        self._model_version = node.create_publisher(msg.ModelVersion, f'{place.prefix}policy/model_version', LATCHED)
        GoalServer(
            node,
            RunPolicy,
            f'{place.prefix}policy/run',
            self._run,
            goal_callback=lambda _: GoalResponse.ACCEPT if source.taking_goals else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def announce(self, version: msg.ModelVersion) -> None:
        """Tell the robot which learned policy its next episode may use."""
        self._model_version.publish(version)

    def _on_image(self, camera: str, image: CompressedImage) -> None:
        self._inbox.add_image(camera, stamp_of(image.header.stamp), bytes(image.data))

    def _on_observation(self, message: msg.Observation) -> None:
        if self._inbox.add_observation(message):
            self._decided_on = -1

    def _run(self, goal: ServerGoalHandle) -> RunPolicy.Result:
        """Run one episode; every way out ends in a result with an error code."""
        codes = RunPolicy.Result
        if not self._episode.acquire(blocking=False):
            goal.abort()
            return codes(error_code=codes.BUSY, error_msg='an episode is running; wait for it or cancel it')
        control: EpisodeControl | None = None
        try:
            control = self._begin(goal.request)
            self._control(goal, control)
        except WaitCancelledError as error:
            code, message = codes.CANCELED, str(error)
            goal.canceled() if goal.is_cancel_requested else goal.abort()
        except Exception as error:
            code = error.code if isinstance(error, EpisodeFaultError) else codes.UNKNOWN
            message = str(error) if isinstance(error, MtoptError) else f'{type(error).__name__}: {error}'
            goal.abort()
            self._node.report(ERROR, f'episode {goal.request.episode_id} aborted: {message}')
        else:
            code, message = codes.NONE, ''
            goal.succeed()
            self._source.report_health()
        finally:
            self._episode.release()
        return self._result(control, code, message)

    def _begin(self, request: RunPolicy.Goal) -> EpisodeControl:
        codes = RunPolicy.Result
        try:
            step = self._place.cell.step
            policy = self._source.policy_for(request.policy, request.exploration, step)
            if request.max_steps:
                step = step.model_copy(update={'max_steps': request.max_steps})
            return EpisodeControl(policy, request.task, request.seed % 2**63, step)
        except UnknownTaskError as error:
            raise EpisodeFaultError(codes.UNKNOWN_TASK, str(error)) from None
        except ConfigurationError as error:
            raise EpisodeFaultError(codes.UNKNOWN_POLICY, str(error)) from None
        except CheckpointError as error:
            raise EpisodeFaultError(codes.NO_MODEL, str(error)) from None

    def _control(self, goal: ServerGoalHandle, control: EpisodeControl) -> None:
        """Observe, decide, act, until the episode ends."""
        episode_id, timeout = goal.request.episode_id, self._place.observation_timeout

        def cancelled() -> bool:
            return goal.is_cancel_requested or not self._source.taking_goals

        # What the reset ended in may still be on its way here. Without its stamp the newest observation will do, unless
        # that is still the last one of the episode before.
        ready = stamp_of(goal.request.ready) or max(self._inbox.newest, self._decided_on + 1)
        # The cameras go on: the first one may be too old for the arm, and for the bag.
        observation = self._observe(ready, control, cancelled, newest=True)
        self._await_arm_controller(cancelled)
        while (action := control.decide(observation)) is not None:
            number = control.steps - 1
            self._actions.publish(action_to_message(action, observation.stamp, episode_id, number))
            goal.publish_feedback(RunPolicy.Feedback(step=number, q_value=action.q_value))
            if action.terminate:
                return
            step = self._inbox.wait_for_step(episode_id, number, timeout, cancelled)
            if step is None:
                raise EpisodeFaultError(
                    RunPolicy.Result.OBSERVATION_TIMEOUT,
                    f'action {number} was not answered by a step; is the arm controller running?',
                )
            if not step.accepted:
                raise EpisodeFaultError(
                    RunPolicy.Result.ACTION_REJECTED, f'the arm controller rejected action {number}: {step.reason}'
                )
            observation = self._observe(stamp_of(step.end), control, cancelled)

    def _await_arm_controller(self, cancelled: Callable[[], bool]) -> None:
        """Wait until actions are heard and answered: right after the graph was started the first would be lost."""
        deadline = time.monotonic() + self._place.observation_timeout
        while not self._answered():
            if cancelled():
                raise WaitCancelledError('cancelled while the arm controller was waited for')
            if time.monotonic() > deadline:
                raise EpisodeFaultError(
                    RunPolicy.Result.OBSERVATION_TIMEOUT,
                    f'nobody takes {self._actions.topic_name} and answers; is the arm controller running?',
                )
            time.sleep(DISCOVERY_PERIOD)

    def _answered(self) -> bool:
        """Return whether who answers with steps will get the actions; the recorder only listens."""
        listeners = self._node.get_subscriptions_info_by_topic(self._actions.topic_name)
        answering = self._node.get_publishers_info_by_topic(self._steps.topic_name)
        # A listener may be known before what is published reaches it.
        reached = self._actions.get_subscription_count() >= len(listeners)
        return reached and not node_names(listeners).isdisjoint(node_names(answering))

    def _observe(
        self, earliest: int, control: EpisodeControl, cancelled: Callable[[], bool], *, newest: bool = False
    ) -> Observation:
        views, timeout = control.policy.views, self._place.observation_timeout
        observation = self._inbox.wait_for_observation(earliest, views, timeout, cancelled, newest=newest)
        if observation is None:
            missing = self._inbox.missing_views(earliest, views)
            matter = f'lacks the images of {", ".join(missing)}' if missing else 'did not come'
            raise EpisodeFaultError(
                RunPolicy.Result.OBSERVATION_TIMEOUT,
                f'an observation at or after {earliest / 1e9:.3f} s {matter} within {timeout:g} s of wall time; '
                'reset the scene, or look at the cameras and at camera ingestion',
            )
        self._decided_on = observation.stamp
        return observation

    def _result(self, control: EpisodeControl | None, code: int, message: str) -> RunPolicy.Result:
        result = RunPolicy.Result(error_code=code, error_msg=message, mean_q=math.nan)
        if control is not None:
            result.steps = control.steps
            result.termination = int(control.termination if code == RunPolicy.Result.NONE else Termination.ABORTED)
            result.policy, result.model_version = control.policy.name, control.policy.model_version
            result.final_stamp = time_of(max(self._decided_on, 0))
        if control is not None and control.q_values:
            result.mean_q = statistics.fmean(control.q_values)
        if control is not None and control.decision_times:
            result.decision_time = statistics.median(control.decision_times)
            self._node.figures(decision_time=f'{result.decision_time * 1e3:.1f} ms')
        return result

"""The policy node: runs one episode's control per `RunPolicy` goal, with the newest policy that fits."""

from __future__ import annotations

import math
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import ClassVar

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import CompressedImage

from mtopt_core.checkpoint import CheckpointWatch
from mtopt_core.configuration import load_cell
from mtopt_core.episode import Observation, Termination
from mtopt_core.errors import CheckpointError, ConfigurationError, MtoptError, UnknownTaskError
from mtopt_core.tasks import load_tasks
from mtopt_msgs import msg
from mtopt_msgs.action import RunPolicy
from mtopt_node.conversions import action_to_message, model_version_to_message, stamp_of, time_of
from mtopt_node.node import ERROR, OK, WARN, Node, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import COMMANDS, LATCHED, OBSERVATIONS
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.episode_control import EpisodeControl
from mtopt_policy.inbox import Inbox, WaitCancelledError
from mtopt_policy.policies import SCRIPTED, choose_policy
from mtopt_policy.q_policy import QFunctionPolicy
from mtopt_policy.scripted import ScriptedPolicy

WATCH_PERIOD = 2.0  # s between looks into the checkpoint folder
DISCOVERY_PERIOD = 0.02  # s


class EpisodeFaultError(MtoptError):
    """An episode cannot go on; `code` is one of RunPolicy's error codes."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class PolicyNode(Node):
    """Publishes actions, waits for each to be carried out, decides on the observation after it."""

    NAME = 'policy'
    # One thread runs the episode, one loads checkpoints, the others take messages and cancels.
    THREADS = 4
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter('cell_file', '', "the cell's configuration; empty for the shipped config/cell.yaml"),
        Parameter('tasks_file', '', 'the task set; empty for the shipped config/tasks.yaml'),
        Parameter('checkpoints', 'data/models/policy', "folder of the policy's checkpoints; need not exist yet"),
        Parameter('action_space', 'eased', "the scripted policy's action space", choices=('eased', 'full')),
        Parameter('scripted_share', 0.5, 'probability of the scripted policy in a mixture', 0.0, 1.0),
        Parameter('exploration', 0.0, 'probability of a random move in a learned episode', 0.0, 1.0),
        Parameter('threads', 1, 'CPU threads of a decision', 1, 64),
        Parameter('observation_timeout', 10.0, 's of wall time for a step and the observation after it', 0.1),
    )

    def __init__(self) -> None:
        super().__init__()
        self._active = False
        self._episode = threading.Lock()
        self._open = ExitStack()

    def configure(self) -> None:
        """Read the configuration, load the newest checkpoint, open topics and action."""
        cell_file = self.value('cell_file')
        self._cell = load_cell(Path(cell_file) if cell_file else None)
        self._tasks = load_tasks(self.value('tasks_file'))
        make_space = ActionSpace.eased if self.value('action_space') == 'eased' else ActionSpace.full
        self._scripted = ScriptedPolicy(self._tasks, make_space(self._cell.step))
        self._inbox = Inbox()
        self._decided_on = -1
        self._refused = ''

        messages = MutuallyExclusiveCallbackGroup()
        subscriptions = [
            self.create_subscription(
                CompressedImage,
                f'cameras/{camera}/compressed',
                partial(self._on_image, camera),
                OBSERVATIONS,
                callback_group=messages,
            )
            for camera in self._cell.cameras
        ]
        subscriptions += [
            self.create_subscription(
                msg.Observation, 'observation', self._on_observation, OBSERVATIONS, callback_group=messages
            ),
        ]
        self._steps = self.create_subscription(
            msg.Step, 'step', self._inbox.add_step, COMMANDS, callback_group=messages
        )
        subscriptions.append(self._steps)
        for subscription in subscriptions:
            self._open.callback(self.destroy_subscription, subscription)
        self._actions = self.create_publisher(msg.Action, 'action', COMMANDS)
        self._open.callback(self.destroy_publisher, self._actions)
        self._model_version = self.create_publisher(msg.ModelVersion, 'policy/model_version', LATCHED)
        self._open.callback(self.destroy_publisher, self._model_version)
        self._watch = CheckpointWatch(Path(self.value('checkpoints')), self._load)
        self._refresh()
        steady, group = Clock(clock_type=ClockType.STEADY_TIME), MutuallyExclusiveCallbackGroup()
        timer = self.create_timer(WATCH_PERIOD, self._refresh, callback_group=group, clock=steady)
        self._open.callback(self.destroy_timer, timer)
        server = ActionServer(
            self,
            RunPolicy,
            'policy/run',
            self._run,
            goal_callback=lambda _: GoalResponse.ACCEPT if self._active else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )
        self._open.callback(server.destroy)

    def activate(self) -> None:
        """Take goals."""
        self._active = True
        self._report_health()

    def deactivate(self) -> None:
        """Take no goals; an episode that runs is aborted and the arm holds."""
        self._active = False

    def cleanup(self) -> None:
        """Close topics and action."""
        self._open.close()

    def _on_image(self, camera: str, image: CompressedImage) -> None:
        self._inbox.add_image(camera, stamp_of(image.header.stamp), bytes(image.data))

    def _on_observation(self, message: msg.Observation) -> None:
        if self._inbox.add_observation(message):
            self._decided_on = -1

    def _load(self, path: Path) -> QFunctionPolicy:
        return QFunctionPolicy.load(path, self._tasks, self.value('threads'), self.value('exploration'))

    def _refresh(self) -> None:
        """Load a newer checkpoint beside the running episode; the next one uses it."""
        try:
            policy = self._watch.refresh()
        except CheckpointError as error:
            self._refused = str(error)
        else:
            if policy is None:
                return
            self._refused = ''
            self._model_version.publish(
                model_version_to_message(
                    policy.manifest,
                    Path(self.value('checkpoints')) / policy.manifest.version,
                    self.get_clock().now().nanoseconds,
                )
            )
        self._report_health()

    def _report_health(self) -> None:
        version = self._watch.current.model_version if self._watch.current else 'none'
        if self._refused:
            self.report(WARN, f'checkpoint refused, policy {version} stays: {self._refused}')
        else:
            self.report(OK, f'running with policy {version}')

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
            self.report(ERROR, f'episode {goal.request.episode_id} aborted: {message}')
        else:
            code, message = codes.NONE, ''
            goal.succeed()
            self._report_health()
        finally:
            self._episode.release()
        return self._result(control, code, message)

    def _begin(self, request: RunPolicy.Goal) -> EpisodeControl:
        codes = RunPolicy.Result
        if request.policy != SCRIPTED and self._watch.current is None:
            self._refresh()
        try:
            policy = choose_policy(request.policy, self._scripted, self._watch.current, self.value('scripted_share'))
            step = self._cell.step
            if request.max_steps:
                step = step.model_copy(update={'max_steps': request.max_steps})
            return EpisodeControl(policy, request.task, request.seed % 2**63, step)
        except UnknownTaskError as error:
            raise EpisodeFaultError(codes.UNKNOWN_TASK, str(error)) from None
        except ConfigurationError as error:
            raise EpisodeFaultError(codes.UNKNOWN_POLICY, str(error)) from None
        except CheckpointError as error:
            raise EpisodeFaultError(codes.NO_MODEL, f'{error}; {self._refused}'.rstrip('; ')) from None

    def _control(self, goal: ServerGoalHandle, control: EpisodeControl) -> None:
        """Observe, decide, act, until the episode ends."""
        episode_id = goal.request.episode_id

        def cancelled() -> bool:
            return goal.is_cancel_requested or not self._active

        # Without a stamp the newest, unless that is still the last one of the episode before.
        ready = stamp_of(goal.request.ready) or max(self._inbox.newest, self._decided_on + 1)
        observation = self._observe(ready, control, cancelled)
        self._await_arm_controller(cancelled)
        while (action := control.decide(observation)) is not None:
            number = control.steps - 1
            self._actions.publish(action_to_message(action, observation.stamp, episode_id, number))
            goal.publish_feedback(RunPolicy.Feedback(step=number, q_value=action.q_value))
            if action.terminate:
                return
            step = self._inbox.wait_for_step(episode_id, number, self.value('observation_timeout'), cancelled)
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
        deadline = time.monotonic() + self.value('observation_timeout')
        while not (self._actions.get_subscription_count() and self._steps.get_publisher_count()):
            if cancelled():
                raise WaitCancelledError('cancelled while the arm controller was waited for')
            if time.monotonic() > deadline:
                raise EpisodeFaultError(
                    RunPolicy.Result.OBSERVATION_TIMEOUT,
                    f'nobody listens to {self._actions.topic_name}; is the arm controller running?',
                )
            time.sleep(DISCOVERY_PERIOD)

    def _observe(self, earliest: int, control: EpisodeControl, cancelled: Callable[[], bool]) -> Observation:
        views, timeout = control.policy.views, self.value('observation_timeout')
        observation = self._inbox.wait_for_observation(earliest, views, timeout, cancelled)
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
            self.figures(decision_time=f'{result.decision_time * 1e3:.1f} ms')
        return result


def main() -> None:
    """Run the node."""
    sys.exit(run(PolicyNode))


if __name__ == '__main__':
    main()

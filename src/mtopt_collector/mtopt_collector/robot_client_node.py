"""What drives the robot's other nodes: reset, policy, recorder and success detector, with steady timeouts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from sensor_msgs.msg import CompressedImage

from mtopt_collector.cell_node import CellNode
from mtopt_collector.collection import CollectionError, Fault, PolicyRun, Recorded
from mtopt_collector.scheduler import Assignment
from mtopt_core.episode import EpisodeInfo, Outcome, Termination
from mtopt_core.label_store import DETECTOR
from mtopt_core.message_types import header_stamp
from mtopt_core.messages import outcomes_from_message
from mtopt_msgs import msg
from mtopt_msgs.action import ResetScene, RunPolicy
from mtopt_msgs.srv import DetectSuccess, SetEpisode
from mtopt_node.calls import CallError, ThreadedActionClient, call, run_goal
from mtopt_node.conversions import episode_info_to_message, stamp_of
from mtopt_node.node import WARN
from mtopt_node.qos import OBSERVATIONS

RESET_TIMEOUT = 90.0
RESET_ATTEMPTS = 2
OBSERVATION_TIMEOUT = 5.0
POLICY_TIMEOUT = 600.0
# Longer than a policy itself waits for an observation before it gives up.
POLICY_SILENCE = 30.0
RECORDER_TIMEOUT = 10.0
GRADING_TIMEOUT = 30.0


class RobotClientNode(CellNode):
    """A node that is a `mtopt_collector.collection.Robot`; those methods wait, so a thread of its own calls them."""

    def configure(self) -> None:
        """Find the other nodes."""
        group = ReentrantCallbackGroup()
        self._reset_client = ThreadedActionClient(self, ResetScene, 'reset/scene', callback_group=group)
        self._policy_client = ThreadedActionClient(self, RunPolicy, 'policy/run', callback_group=group)
        self._recorder_client = self.create_client(SetEpisode, 'recorder/set_episode', callback_group=group)
        self._detector_client = self.create_client(DetectSuccess, 'success_detector/detect', callback_group=group)
        self._seen = 0
        self._sight = threading.Condition()
        self.create_subscription(msg.Observation, 'observation', self._see, OBSERVATIONS, raw=True)

    def cancelled(self) -> bool:
        """Return whether the running episode is to be cancelled."""
        return not self.active

    def missing(self, grade_with: str) -> list[str]:
        """Return the services and actions that are not there yet."""
        ready = {
            'reset/scene': self._reset_client.server_is_ready(),
            'policy/run': self._policy_client.server_is_ready(),
            'recorder/set_episode': self._recorder_client.service_is_ready(),
            'success_detector/detect': grade_with != DETECTOR or self._detector_client.service_is_ready(),
        }
        return [name for name, there in ready.items() if not there]

    def reset(self, assignment: Assignment) -> int:
        """Make the cell ready and wait for its first observation."""
        # A simulator shows a scene once; right after the graph was started the cameras' reader may miss it.
        for _ in range(RESET_ATTEMPTS):
            stamp = self._reset_once(assignment)
            if self._observed(stamp):
                return stamp
        raise CollectionError(
            Fault.RESET_FAILED,
            f'no observation of the cell came within {OBSERVATION_TIMEOUT:g} s of its reset; '
            'the diagnostics of camera_ingestion say why',
        )

    def _reset_once(self, assignment: Assignment) -> int:
        kind = ResetScene.Goal.NEW_SCENE if assignment.new_scene else ResetScene.Goal.KEEP_SCENE
        goal = ResetScene.Goal(kind=kind, skill=assignment.skill, holding=assignment.holding, seed=assignment.seed)
        result = self._run_goal(Fault.RESET_FAILED, self._reset_client, goal, RESET_TIMEOUT, RESET_TIMEOUT)
        if result.error_code != ResetScene.Result.NONE:
            needs_person = result.error_code == ResetScene.Result.NEEDS_PERSON
            raise CollectionError(Fault.RESET_FAILED, result.error_msg, needs_person)
        return stamp_of(result.stamp)

    def start_recording(self, info: EpisodeInfo) -> None:
        """Start the episode's bag; one that a collector before this one left running is ended."""
        response = self._set_episode(info, msg.EpisodeInfo.PHASE_START)
        if response.error_code == SetEpisode.Response.ALREADY_RECORDING:
            request = SetEpisode.Request(info=msg.EpisodeInfo(phase=msg.EpisodeInfo.PHASE_END))
            self._do(Fault.RECORDER_FAILED, lambda: call(self._recorder_client, request, RECORDER_TIMEOUT))
            response = self._set_episode(info, msg.EpisodeInfo.PHASE_START)
        _check_recorder(response)

    def run_policy(self, info: EpisodeInfo) -> PolicyRun:
        """Run the policy until the episode ends."""
        goal = RunPolicy.Goal(episode_id=info.episode_id, task=info.task, policy=info.policy, seed=info.seed)
        result = self._run_goal(Fault.POLICY_FAILED, self._policy_client, goal, POLICY_TIMEOUT, POLICY_SILENCE)
        failed = result.error_code != RunPolicy.Result.NONE
        return PolicyRun(
            steps=result.steps,
            termination=Termination.ABORTED if failed else Termination(result.termination),
            policy=result.policy,
            model_version=result.model_version,
            decision_time=result.decision_time,
            final_stamp=stamp_of(result.final_stamp),
            message=result.error_msg,
            fault=None if not failed else Fault.CANCELED if self.cancelled() else Fault.POLICY_FAILED,
        )

    def finish_recording(self, info: EpisodeInfo) -> Recorded:
        """Finish the episode's bag."""
        response = self._set_episode(info, msg.EpisodeInfo.PHASE_END)
        _check_recorder(response)
        return Recorded(Path(response.bag_path), response.messages, response.dropped, response.error_msg)

    def grade(self, episode_id: str, images: Mapping[str, bytes]) -> list[Outcome]:
        """Let the success detector grade and store; before one is trained nothing is graded."""
        request = DetectSuccess.Request(
            episode_id=episode_id,
            cameras=list(images),
            images=[CompressedImage(format='jpeg', data=jpeg) for jpeg in images.values()],
        )
        response = self._do(Fault.GRADING_FAILED, lambda: call(self._detector_client, request, GRADING_TIMEOUT))
        if response.error_code == DetectSuccess.Response.NO_MODEL:
            self.report(WARN, f'not graded: {response.error_msg}')
            return []
        if response.error_code != DetectSuccess.Response.NONE:
            raise CollectionError(Fault.GRADING_FAILED, response.error_msg)
        return outcomes_from_message(response.outcomes)

    def _observed(self, stamp: int) -> bool:
        with self._sight:
            return self._sight.wait_for(lambda: self._seen >= stamp, OBSERVATION_TIMEOUT)

    def _see(self, cdr: bytes) -> None:
        with self._sight:
            self._seen = header_stamp(cdr)
            self._sight.notify_all()

    def _set_episode(self, info: EpisodeInfo, phase: int) -> SetEpisode.Response:
        request = SetEpisode.Request(info=episode_info_to_message(info, phase))
        return self._do(Fault.RECORDER_FAILED, lambda: call(self._recorder_client, request, RECORDER_TIMEOUT))

    def _run_goal(self, fault: Fault, client: ThreadedActionClient, goal: Any, timeout: float, silence: float) -> Any:
        """Run a goal; one whose node is gone, or says nothing for `silence` s, is given up long before its time."""
        heard = self.now

        def hear(_: Any) -> None:
            nonlocal heard
            heard = self.now

        def hopeless() -> bool:
            return self.cancelled() or not client.server_is_ready() or self.now - heard > silence

        return self._do(fault, lambda: run_goal(client, goal, timeout, hear, hopeless))

    def _do(self, fault: Fault, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except CallError as error:
            raise CollectionError(fault, str(error)) from None


def _check_recorder(response: SetEpisode.Response) -> None:
    if response.error_code != SetEpisode.Response.NONE:
        full = response.error_code == SetEpisode.Response.DISK_FULL
        raise CollectionError(Fault.RECORDER_FAILED, response.error_msg, needs_person=full)

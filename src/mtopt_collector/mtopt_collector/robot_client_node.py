"""What drives the robot's other nodes: reset, policy, recorder and success detector, with steady timeouts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from action_msgs.srv import CancelGoal
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage

from mtopt_collector.cell_node import CellNode
from mtopt_collector.collection import CollectionError, Fault, PolicyRun, Recorded
from mtopt_collector.scheduler import Assignment
from mtopt_core.episode import EpisodeInfo, Outcome, Termination
from mtopt_core.heartbeats import Heartbeats
from mtopt_core.label_store import DETECTOR
from mtopt_core.message_types import header_stamp
from mtopt_core.messages import outcomes_from_message, stamp_of
from mtopt_msgs import msg
from mtopt_msgs.action import ResetScene, RunPolicy
from mtopt_msgs.srv import DetectSuccess, SetEpisode
from mtopt_node.calls import LOOK_PERIOD, CallError, Lost, NodeLostError, ThreadedActionClient, call, run_goal
from mtopt_node.conversions import episode_info_to_message, time_of
from mtopt_node.node import WARN
from mtopt_node.qos import EVENTS, LATCHED, OBSERVATIONS

SIMULATOR, INGESTION, ARM, RECORDER = 'simulator', 'camera_ingestion', 'arm_controller', 'recorder'
RESET, POLICY, DETECTOR_NODE = 'reset', 'policy', 'success_detector'
# The nodes a reset and a policy's run depend on, beside the simulator. One that dies cuts them short.
RESETTING = (RESET, ARM, INGESTION)
RUNNING = (POLICY, ARM, INGESTION, RECORDER)

# A robot that tidies its cell by itself takes minutes, and says every few seconds what it does.
RESET_TIMEOUT, RESET_SILENCE = 1200.0, 120.0
RESET_ATTEMPTS = 2
OBSERVATION_TIMEOUT = 5.0
POLICY_TIMEOUT = 600.0
# Longer than a policy itself waits for an observation before it gives up.
POLICY_SILENCE = 30.0
RECORDER_TIMEOUT = 10.0
GRADING_TIMEOUT = 30.0
ASK_AGAIN = 1.0


class _Asked(NamedTuple):
    """A question to another node, and when it was asked, s of steady time."""

    answer: Future
    at: float


class RobotClientNode(CellNode):
    """A node that is a `mtopt_collector.collection.Robot`; those methods wait, so a thread of its own calls them."""

    def configure(self) -> None:
        """Find the other nodes."""
        group = ReentrantCallbackGroup()
        self._reset_client = ThreadedActionClient(self, ResetScene, 'reset/scene', callback_group=group)
        self._policy_client = ThreadedActionClient(self, RunPolicy, 'policy/run', callback_group=group)
        self._recorder_client = self.create_client(SetEpisode, 'recorder/set_episode', callback_group=group)
        self._detector_client = self.create_client(DetectSuccess, 'success_detector/detect', callback_group=group)
        self._goal_cancellers = [
            self.create_client(CancelGoal, f'{action}/_action/cancel_goal', callback_group=group)
            for action in ('reset/scene', 'policy/run')
        ]
        self._heartbeats = Heartbeats({name: self._silence(name) for name in map(self._full, self._nodes())})
        self._pids: dict[str, int] = {}
        self._seen = 0
        self.have_learned = False
        self._sight = threading.Condition()
        self.create_subscription(msg.Observation, 'observation', self._see, OBSERVATIONS, raw=True)
        self.create_subscription(msg.ModelVersion, 'policy/model_version', self._know, LATCHED)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.take_diagnostics, EVENTS)

    def activate(self) -> None:
        """Work; first comes what a collector before this one has left undone."""
        super().activate()
        self._cancelling: dict[Client, _Asked | None] = dict.fromkeys(self._goal_cancellers)

    def cancel_goals(self) -> bool:
        """Cancel whatever reset and policy still do for a collector that died, as soon as they are found.

        Returns:
            Whether they have answered. Before, no goal may be sent: it would be cancelled with the others.
        """
        for client, asked in tuple(self._cancelling.items()):
            if asked is not None and asked.answer.done():
                del self._cancelling[client]
            # Who has not found its client yet drops the answer.
            elif client.service_is_ready() and (asked is None or self.now - asked.at > ASK_AGAIN):
                if asked is not None:
                    client.remove_pending_request(asked.answer)
                self._cancelling[client] = _Asked(client.call_async(CancelGoal.Request()), self.now)  # without id: all
        return not self._cancelling

    def cancelled(self) -> bool:
        """Return whether the running episode is to be cancelled."""
        return not self.active

    def _nodes(self) -> tuple[str, ...]:
        """Return the names of the nodes that collecting needs."""
        simulator = (SIMULATOR,) if self.value('simulated') else ()
        detector = (DETECTOR_NODE,) if self.value('grade_with') == DETECTOR else ()
        return (*simulator, INGESTION, ARM, RECORDER, RESET, POLICY, *detector)

    def _full(self, name: str) -> str:
        servers = self.value('servers') if name in (POLICY, DETECTOR_NODE) else ''
        return f'/{servers or self.robot}/{name}'

    def _silence(self, full_name: str) -> float:
        return self.value('simulator_silence' if full_name == self._full(SIMULATOR) else 'silence')

    def take_diagnostics(self, array: DiagnosticArray) -> None:
        """Take nodes' signs of life."""
        for status in array.status:
            self._heartbeats.hear(status.name, ((pair.key, pair.value) for pair in status.values), self.now)

    def obstacle(self) -> str:
        """Return why nothing can be collected now, in words; empty when it can."""
        names = [self._full(name) for name in self._nodes()]
        ready = {
            'reset/scene': self._reset_client.server_is_ready(),
            'policy/run': self._policy_client.server_is_ready(),
            'recorder/set_episode': self._recorder_client.service_is_ready(),
            'success_detector/detect': self.value('grade_with') != DETECTOR or self._detector_client.service_is_ready(),
        }
        missing = [name for name, there in ready.items() if not there]
        unfound = f'waiting for {", ".join(missing)}; are their nodes running?' if missing else ''
        return self._heartbeats.silent(names, self.now) or self._heartbeats.blocked(names) or unfound

    def _trouble(self, names: Iterable[str]) -> str:
        """Return what happened to one of these nodes since the episode's reset began, in words; empty for nothing."""
        simulator = (SIMULATOR,) if self.value('simulated') else ()
        full = [self._full(name) for name in (*simulator, *names)]
        # A disk that gets full is no reason to cut an episode short: there is room for it.
        blocking = [name for name in full if name != self._full(RECORDER)]
        pids = {name: pid for name, pid in self._pids.items() if name in full}
        return (
            self._heartbeats.silent(full, self.now)
            or self._heartbeats.replaced(pids)
            or self._heartbeats.blocked(blocking)
        )

    def _lost(self, name: str) -> Lost:
        """Return what tells whether a node that is to answer will never do so, because it died or hangs."""
        full = self._full(name)
        pids = self._heartbeats.pids([full])
        return lambda: self._heartbeats.silent([full], self.now) or self._heartbeats.replaced(pids)

    def reset(self, assignment: Assignment) -> int:
        """Make the cell ready and wait for its first observation."""
        # A simulator shows a scene once; right after the graph was started the cameras' reader may miss it.
        self._pids = self._heartbeats.pids(map(self._full, self._nodes()))
        for _ in range(RESET_ATTEMPTS):
            stamp = self._reset_once(assignment)
            if self._observed(stamp):
                return stamp
            self._stop_if_cancelled()
            trouble = self._trouble(RESETTING)
            if trouble:
                raise CollectionError(Fault.RESET_FAILED, trouble, passing=True)
        raise CollectionError(
            Fault.RESET_FAILED,
            f'no observation of the cell came within {OBSERVATION_TIMEOUT:g} s of its reset; '
            'the diagnostics of camera_ingestion say why',
        )

    def _reset_once(self, assignment: Assignment) -> int:
        kind = ResetScene.Goal.NEW_SCENE if assignment.new_scene else ResetScene.Goal.KEEP_SCENE
        goal = ResetScene.Goal(kind=kind, skill=assignment.skill, holding=assignment.holding, seed=assignment.seed)
        result = self._run_goal(Fault.RESET_FAILED, self._reset_client, RESETTING, goal, RESET_TIMEOUT, RESET_SILENCE)
        needs_person = result.error_code == ResetScene.Result.NEEDS_PERSON
        if not needs_person:
            self._stop_if_cancelled()
        if result.error_code != ResetScene.Result.NONE:
            raise CollectionError(Fault.RESET_FAILED, result.error_msg, needs_person)
        return stamp_of(result.stamp)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise CollectionError(Fault.CANCELED, 'cancelled while the cell was made ready')

    def start_recording(self, info: EpisodeInfo) -> None:
        """Start the episode's bag; one that a collector before this one left running is ended."""
        response = self._set_episode(info, msg.EpisodeInfo.PHASE_START)
        if response.error_code == SetEpisode.Response.ALREADY_RECORDING:
            request = SetEpisode.Request(info=msg.EpisodeInfo(phase=msg.EpisodeInfo.PHASE_END))
            self._call(Fault.RECORDER_FAILED, self._recorder_client, RECORDER, request, RECORDER_TIMEOUT)
            response = self._set_episode(info, msg.EpisodeInfo.PHASE_START)
        _check_recorder(response)

    def run_policy(self, info: EpisodeInfo, exploration: float) -> PolicyRun:
        """Run the policy until the episode ends."""
        goal = RunPolicy.Goal(
            episode_id=info.episode_id,
            task=info.task,
            policy=info.policy,
            seed=info.seed,
            exploration=exploration,
            ready=time_of(info.stamp),
        )
        acted: list[float] = []
        result = self._run_goal(
            Fault.POLICY_FAILED, self._policy_client, RUNNING, goal, POLICY_TIMEOUT, POLICY_SILENCE, acted
        )
        failed = result.error_code != RunPolicy.Result.NONE
        return PolicyRun(
            steps=result.steps,
            termination=Termination.ABORTED if failed else Termination(result.termination),
            policy=result.policy,
            model_version=result.model_version,
            decision_time=result.decision_time,
            step_times=tuple(after - before for before, after in pairwise(acted)),
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
        response = self._call(Fault.GRADING_FAILED, self._detector_client, DETECTOR_NODE, request, GRADING_TIMEOUT)
        if response.error_code == DetectSuccess.Response.NO_MODEL:
            self.report(WARN, f'not graded: {response.error_msg}')
            return []
        if response.error_code != DetectSuccess.Response.NONE:
            raise CollectionError(Fault.GRADING_FAILED, response.error_msg)
        return outcomes_from_message(response.outcomes)

    def _observed(self, stamp: int) -> bool:
        """Wait for an observation; in vain when it does not come, or when a node it needs is in trouble."""
        deadline = self.now + OBSERVATION_TIMEOUT
        with self._sight:
            while not self._sight.wait_for(lambda: self._seen >= stamp, LOOK_PERIOD):
                if self.now > deadline or self.cancelled() or self._trouble(RESETTING):
                    return False
        return True

    def _see(self, cdr: bytes) -> None:
        with self._sight:
            self._seen = header_stamp(cdr)
            self._sight.notify_all()

    def _know(self, _: msg.ModelVersion) -> None:
        self.have_learned = True

    def _set_episode(self, info: EpisodeInfo, phase: int) -> SetEpisode.Response:
        request = SetEpisode.Request(info=episode_info_to_message(info, phase, info.stamp))
        return self._call(Fault.RECORDER_FAILED, self._recorder_client, RECORDER, request, RECORDER_TIMEOUT)

    def _run_goal(
        self,
        fault: Fault,
        client: ThreadedActionClient,
        nodes: tuple[str, ...],
        goal: Any,
        timeout: float,
        silence: float,
        told: list[float] | None = None,
    ) -> Any:
        """Run a goal of the first of `nodes`; in trouble, or silent for `silence` s, it is given up before its time.

        `told` is given the steady times of its feedback, s.
        """
        heard, trouble = self.now, ''

        def hear(_: Any) -> None:
            nonlocal heard
            heard = self.now
            if told is not None:
                told.append(heard)

        def hopeless() -> bool:
            nonlocal trouble
            trouble = trouble or self._trouble(nodes)
            return bool(trouble) or self.cancelled() or self.now - heard > silence

        try:
            result = run_goal(client, goal, timeout, hear, hopeless, self._lost(nodes[0]))
        except CallError as error:
            if not trouble and self.cancelled():
                fault = Fault.CANCELED
            passing = bool(trouble) or isinstance(error, NodeLostError)
            raise CollectionError(fault, trouble or str(error), passing=passing) from None
        if trouble:
            raise CollectionError(fault, trouble, passing=True)
        return result

    def _call(self, fault: Fault, client: Client, name: str, request: Any, timeout: float) -> Any:
        """Call a service of a node."""
        try:
            return call(client, request, timeout, self._lost(name))
        except CallError as error:
            raise CollectionError(fault, str(error), passing=isinstance(error, NodeLostError)) from None


def _check_recorder(response: SetEpisode.Response) -> None:
    if response.error_code != SetEpisode.Response.NONE:
        # A full disk is waited for: the recorder says in its diagnostics when there is room again.
        full = response.error_code == SetEpisode.Response.DISK_FULL
        raise CollectionError(Fault.RECORDER_FAILED, response.error_msg, passing=full)

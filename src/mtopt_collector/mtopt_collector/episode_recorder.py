"""Sorts serialised messages into the bag of the running episode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from mtopt_collector.completeness import Completeness
from mtopt_collector.recording import EpisodeWriter, RawMessage, Written
from mtopt_core.bag import BagWriter
from mtopt_core.configuration import RecordingConfiguration
from mtopt_core.episode import EpisodeInfo, Termination
from mtopt_core.episode_bag import LATCHED_TOPICS, TOPICS, camera_topic
from mtopt_core.errors import BagError
from mtopt_core.message_types import (
    ACTION,
    COMPRESSED_IMAGE,
    OBSERVATION,
    STEP,
    TASK_OUTCOMES,
    deserialize,
    header_stamp,
    serialize,
)
from mtopt_core.messages import PHASE_END, PHASE_START, episode_info_to_message, stamp_of

TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
COMMAND_TOPICS = {
    'joint_trajectory_controller/joint_trajectory': TRAJECTORY,
    'gripper_trajectory_controller/joint_trajectory': TRAJECTORY,
}
EPISODE, TRUTH = 'episode', 'true_outcomes'
# Gradings come when the bag is closed; they live in the label store.
NOT_RECORDED = ('outcomes',)
# Stamped by the arm's clock, which in simulation is not the wall's; what is not is filed under the newest joint state.
TIMED = ('observation', 'joint_states', 'action', 'step')
RECENT = 8
"""Images of each camera, and observations, that are remembered: cameras go on while an episode is begun."""


def recorded_topics(cameras: Iterable[str]) -> dict[str, str]:
    """Return the topics to subscribe, relative to the robot's namespace, with their types."""
    ours = {name: kind for name, kind in TOPICS.items() if name not in (EPISODE, *NOT_RECORDED)}
    return {**ours, **COMMAND_TOPICS, **{camera_topic(camera): COMPRESSED_IMAGE for camera in cameras}}


class EpisodeRecorder:
    """Takes every message of a robot and records those of its episodes.

    A lock-step simulator shows the scene once, after the reset and before the episode is announced: what the first
    action is decided on is already past when recording starts. Cameras that go on show it some more times until then.
    So the newest observations, images and joint state and what is latched are always remembered, and open the bag.

    Args:
        folder: Folder of the bags.
        robot: Namespace of the robot.
        cameras: Names of its cameras.
        recording: How to record.
        queue_bytes: Largest size of what waits to be written.
    """

    def __init__(
        self, folder: Path, robot: str, cameras: Iterable[str], recording: RecordingConfiguration, queue_bytes: int
    ) -> None:
        self._folder = folder
        self._robot = robot
        self._chunk_size = recording.chunk_size
        self._queue_bytes = queue_bytes
        self._types = {EPISODE: TOPICS[EPISODE], **recorded_topics(cameras)}
        self._camera_of = {camera_topic(camera): camera for camera in cameras}
        self._latched: dict[str, RawMessage] = {}
        self._recent: dict[str, deque[RawMessage]] = {
            **{name: deque(maxlen=RECENT) for name in (*self._camera_of, 'observation')},
            'joint_states': deque(maxlen=1),
        }
        self._newest = dict.fromkeys(self._recent, 0)
        self._now = 0
        self._truth: bytes | None = None
        self._truth_stamp = -1
        self._writer: EpisodeWriter | None = None
        self._completeness = Completeness(truth_expected=False)
        self._spoilt = ''
        self.info: EpisodeInfo | None = None

    @property
    def dropped(self) -> int:
        """Messages of the running or last episode lost so far."""
        return self._writer.dropped if self._writer else 0

    def take(self, name: str, cdr: bytes) -> None:
        """Take a serialised message of a topic, relative to the robot's namespace."""
        message = self._raw(name, cdr)
        if name in self._newest:
            if message.stamp < self._newest[name]:
                self._go_back(message.stamp)
            self._newest[name] = message.stamp
        if name == TRUTH:
            # Told after every step; only the final one belongs to the episode, and carries its id.
            self._truth, self._truth_stamp = cdr, header_stamp(cdr)
            self._completeness.graded(self._truth_stamp)
            return
        if name in self._recent:
            self._recent[name].append(message)
        elif name in LATCHED_TOPICS:
            self._latched[name] = message
        if self.info is not None and self._writer is not None and self._writer.put(message):
            self._follow(name, message)

    def start(self, info: EpisodeInfo) -> Future[BagError | None]:
        """Start an episode's bag; what came before `info.stamp` does not belong to it.

        Returns:
            Done once the bag is made, or with why it could not be; then the episode is to be given up.
        """
        self._writer = EpisodeWriter(
            lambda: BagWriter(self._folder, info.episode_id, self._chunk_size), self._queue_bytes
        )
        self._completeness = Completeness(truth_expected=info.simulated and self._truth is not None)
        self._spoilt = ''
        self.info = info
        self._completeness.graded(self._truth_stamp)
        self._now = info.stamp or self._now
        self._write_info(info, PHASE_START, self._now)
        for message in self._forerunners(info.stamp):
            if self._writer.put(message):
                self._follow(message.topic.removeprefix(f'/{self._robot}/'), message)
        return self._writer.opened

    def complete(self, steps: int) -> bool:
        """Return whether everything up to the final observation of an episode of so many steps has come."""
        return not self._completeness.missing(steps)

    @property
    def readable(self) -> bool:
        """Whether the newest observation has its images."""
        return self._completeness.readable

    def checked(self, info: EpisodeInfo) -> EpisodeInfo:
        """Return how an episode ended: as told, or aborted: an action was refused, or something did not come."""
        if info.termination is Termination.ABORTED:
            return info
        if self._spoilt:
            return replace(info, termination=Termination.ABORTED, message=self._spoilt)
        missing = self._completeness.missing(info.steps)
        if not missing:
            return info
        return replace(info, termination=Termination.ABORTED, message=f'{missing} did not reach the recorder')

    def finish(self, info: EpisodeInfo) -> Future[Written]:
        """End the episode as told; its bag is finished in the background."""
        assert self._writer is not None, 'no episode is recorded'
        if self._truth is not None and self._truth_stamp >= 0 and info.simulated:
            truth = deserialize(self._truth, TASK_OUTCOMES)
            truth.episode_id = info.episode_id
            self._put(TRUTH, serialize(truth), self._truth_stamp)
        self._write_info(info, PHASE_END, self._now)
        self.info = None
        return self._writer.finish()

    def _raw(self, name: str, cdr: bytes) -> RawMessage:
        if name in TIMED or name in self._camera_of:
            stamp = header_stamp(cdr)
            if name == 'joint_states':
                self._now = stamp
        else:
            stamp = self._now
        return RawMessage(f'/{self._robot}/{name}', self._types[name], stamp, cdr, name in LATCHED_TOPICS)

    def _put(self, name: str, cdr: memoryview, stamp: int) -> None:
        assert self._writer is not None
        self._writer.put(RawMessage(f'/{self._robot}/{name}', self._types[name], stamp, cdr))

    def _write_info(self, info: EpisodeInfo, phase: int, stamp: int) -> None:
        self._put(EPISODE, serialize(episode_info_to_message(info, phase, stamp)), stamp)

    def _go_back(self, stamp: int) -> None:
        """Forget what is later than a message that came now: it is of a simulator that was started again meanwhile."""
        for recent in self._recent.values():
            kept = [message for message in recent if message.stamp <= stamp]
            recent.clear()
            recent.extend(kept)
        if self._truth_stamp > stamp:
            self._truth_stamp = -1
        self._spoilt = self._spoilt or 'time went back; was the simulator started again?'

    def _follow(self, name: str, message: RawMessage) -> None:
        if name in self._camera_of:
            self._completeness.imaged(self._camera_of[name], message.stamp)
        elif name == 'observation':
            observation = deserialize(message.cdr, OBSERVATION)
            stamps = map(stamp_of, observation.image_stamps)
            self._completeness.observed(message.stamp, dict(zip(observation.cameras, stamps, strict=True)))
        elif name == 'action':
            action = deserialize(message.cdr, ACTION)
            if self.info is not None and action.episode_id == self.info.episode_id:
                self._completeness.acted(action.step, stamp_of(action.header.stamp))
        elif name == 'step':
            step = deserialize(message.cdr, STEP)
            if self.info is not None and step.episode_id == self.info.episode_id:
                self._completeness.answered(step.step, stamp_of(step.end) if step.accepted else 0)
                # Then somebody else acts in this episode's name: what is recorded is not what its policy did.
                if not step.accepted:
                    self._spoilt = f'action {step.step} was refused: {step.reason}'

    def _forerunners(self, since: int) -> list[RawMessage]:
        """Return what came before the episode was announced but belongs to it, an observation after its images."""
        timed = (message for recent in self._recent.values() for message in recent)
        return [*self._latched.values(), *(message for message in timed if message.stamp >= since)]

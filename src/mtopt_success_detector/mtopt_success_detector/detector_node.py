"""The success detector's node: grades final images, publishes and stores the outcomes.

Usually it serves the robot of its namespace. Given the parameter `robots` it serves several, each under its own names
as if it were alone, and grades together what is asked at the same time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.publisher import Publisher
from rclpy.service import Service

from mtopt_core.checkpoint import CheckpointWatch
from mtopt_core.errors import CheckpointError, ImageError, LabelError, MtoptError, UnknownTaskError
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_msgs import msg
from mtopt_msgs.srv import DetectSuccess
from mtopt_node.conversions import model_version_to_message, outcomes_to_message
from mtopt_node.node import ERROR, OK, WARN, Node, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import EVENTS, LATCHED
from mtopt_success_detector.drift import DriftMonitor
from mtopt_success_detector.grader import Graded, Grader

WATCH_PERIOD = 2.0  # s between looks into the checkpoint folder
EPISODES_REMEMBERED = 100

ERROR_CODES: dict[type[MtoptError], int] = {
    UnknownTaskError: DetectSuccess.Response.UNKNOWN_TASK,
    ImageError: DetectSuccess.Response.BAD_IMAGE,
    CheckpointError: DetectSuccess.Response.NO_MODEL,
    LabelError: DetectSuccess.Response.STORE_FAILED,
}


class DetectorNode(Node):
    """Answers `DetectSuccess` with the newest checkpoint that fits."""

    NAME = 'success_detector'
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter('robots', [''], "namespaces of the robots served; empty: that of the node's own"),
        Parameter('tasks_file', '', 'the task set; empty for the shipped config/tasks.yaml'),
        Parameter('checkpoints', '', "folder of the detector's checkpoints; it may be filled later"),
        Parameter('data_folder', 'data', 'data folder whose label store gets the outcomes; empty: they are not stored'),
        Parameter('threads', 1, 'CPU threads of a grading', 1, 64),
    )

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self._refused = ''
        self._drift = DriftMonitor({})
        self._skills: dict[str, str] = {}
        self._offered: list[Service] = []
        names = [name.strip('/') for name in self.value('robots') if name]
        self._prefixes = tuple(f'/{name}/' for name in names) or ('',)
        # One thread per robot waits for its grading.
        self.THREADS = 1 if len(self._prefixes) == 1 else 1 + len(self._prefixes)
        self._noting = threading.Lock()

    def configure(self) -> None:
        """Open the label store, load the newest checkpoint, announce versions from now on."""
        torch.set_num_threads(self.value('threads'))
        data_folder = self.value('data_folder')
        self._tasks = load_tasks(self.value('tasks_file'))
        self._store: LabelStore | None = None
        if data_folder:
            self._store = LabelStore(DataFolder(Path(data_folder)))
            self._open.callback(self._store.close)
        self._outcomes: dict[str, Publisher] = {}
        self._model_versions: list[Publisher] = []
        for prefix in self._prefixes:
            outcomes = self.create_publisher(msg.TaskOutcomes, f'{prefix}outcomes', EVENTS)
            version = self.create_publisher(msg.ModelVersion, f'{prefix}success_detector/model_version', LATCHED)
            self._outcomes[prefix] = outcomes
            self._model_versions.append(version)
            self.create_subscription(msg.EpisodeInfo, f'{prefix}episode', self._take_episode, EVENTS)
        self._watch = CheckpointWatch(Path(self.value('checkpoints')), self._load)
        self._refresh()
        self.create_timer(WATCH_PERIOD, self._refresh, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def activate(self) -> None:
        """Take requests."""
        self._offered = [
            self.create_service(
                DetectSuccess,
                f'{prefix}success_detector/detect',
                partial(self._detect, prefix),
                callback_group=ReentrantCallbackGroup(),
            )
            for prefix in self._prefixes
        ]
        self._report_health()

    def deactivate(self) -> None:
        """Take no requests: the service disappears."""
        for service in self._offered:
            self.destroy_service(service)
        self._offered = []

    def cleanup(self) -> None:
        """Close the store."""
        self._open.close()

    def _load(self, path: Path) -> Grader:
        return Grader.load(path, self._tasks)

    def _refresh(self) -> None:
        """Load a newer checkpoint; requests in progress are answered by the one before."""
        if not self.value('checkpoints'):
            return
        try:
            grader = self._watch.refresh()
        except CheckpointError as error:
            self._refused = str(error)
        else:
            if grader is None:
                return
            self._refused = ''
            self._drift = DriftMonitor(grader.manifest.references)
            path = Path(self.value('checkpoints')) / grader.manifest.version
            version = model_version_to_message(grader.manifest, path, self.get_clock().now().nanoseconds)
            for publisher in self._model_versions:
                publisher.publish(version)
        self._report_health()

    def _report_health(self) -> None:
        version = self._watch.current.manifest.version if self._watch.current else 'none'
        if self._refused:
            self.report(WARN, f'checkpoint refused, detector {version} stays: {self._refused}')
        elif self._watch.current is None:
            folder = self.value('checkpoints')
            self.report(WARN, f'no detector to grade with in {folder!r}; `mtopt detector train` makes one')
        elif alarms := self._drift.alarms():
            self.report(
                WARN,
                f'detector {version} meets what it was not trained on; review some episodes and train it again. '
                + '; '.join(alarms),
            )
        else:
            self.report(OK, f'grading with detector {version}')

    def _take_episode(self, message: msg.EpisodeInfo) -> None:
        """Remember of which skill an episode is: drift is watched over the episodes of a task's skill."""
        with self._noting:
            self._skills[message.episode_id] = message.skill
            while len(self._skills) > EPISODES_REMEMBERED:
                del self._skills[next(iter(self._skills))]

    def _detect(
        self, prefix: str, request: DetectSuccess.Request, response: DetectSuccess.Response
    ) -> DetectSuccess.Response:
        """Answer one request; every way out has an error code."""
        try:
            self._grade(prefix, request, response)
        except MtoptError as error:
            response.error_code = next(code for kind, code in ERROR_CODES.items() if isinstance(error, kind))
            response.error_msg = str(error)
        if response.error_code == DetectSuccess.Response.STORE_FAILED:
            self.report(ERROR, response.error_msg)
        return response

    def _grade(self, prefix: str, request: DetectSuccess.Request, response: DetectSuccess.Response) -> None:
        """Grade, publish and store.

        Raises:
            MtoptError: One of `ERROR_CODES`.
        """
        self._refresh()
        grader = self._watch.current
        if grader is None:
            raise CheckpointError(f'no detector was loaded; train one. {self._refused}'.rstrip())
        if len(request.cameras) != len(request.images):
            raise ImageError(f'{len(request.images)} images came with {len(request.cameras)} names of cameras')
        jpegs = {camera: bytes(image.data) for camera, image in zip(request.cameras, request.images, strict=True)}
        start = time.perf_counter()
        graded = grader.grade(jpegs, request.tasks)
        outcomes = [one.outcome for one in graded]
        self.figures(grading_time=f'{(time.perf_counter() - start) * 1e3:.1f} ms')
        version = grader.manifest.version
        response.outcomes = outcomes_to_message(
            outcomes, self.get_clock().now().nanoseconds, request.episode_id, DETECTOR, version
        )
        if request.episode_id:
            with self._noting:
                self._watch_drift(request.episode_id, graded)
                self._outcomes[prefix].publish(response.outcomes)
                if self._store is not None:
                    self._store.add(request.episode_id, DETECTOR, version, outcomes)

    def _watch_drift(self, episode_id: str, graded: Sequence[Graded]) -> None:
        """Take in the gradings of the tasks of the episode's skill; of an episode nobody announced it is not known."""
        skill = self._skills.get(episode_id)
        of_skill = set(self._tasks.of_skill(skill)) if skill is not None else set()
        for one in graded:
            if one.outcome.task in of_skill:
                self._drift.add(one.outcome.task, one.outcome.verdict, one.distance)
        if of_skill:
            self._report_health()


def main() -> None:
    """Run the node."""
    sys.exit(run(DetectorNode))


if __name__ == '__main__':
    main()

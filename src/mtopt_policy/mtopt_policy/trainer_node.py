"""The trainer node: trains on a folder that grows while robots collect, and announces every policy it exports."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path
from typing import ClassVar

import torch

from mtopt_core.configuration import load_cell
from mtopt_core.errors import MtoptError
from mtopt_core.label_store import DEFAULT_SOURCES
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_msgs.msg import ModelVersion
from mtopt_node.conversions import model_version_to_message
from mtopt_node.node import ERROR, OK, WARN, Node, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import LATCHED
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.monitor import Interval
from mtopt_policy.learner.trainer import TrainingError
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.manifest import PolicyManifest

WAIT_SECONDS = 5.0
"""Time between two looks for data while there is nothing to learn from, and before a training that failed is gone on
with, s."""


class TrainerNode(Node):
    """Runs a training in a thread of its own while it is active."""

    NAME = 'trainer'
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter('bags', '', 'folder of collected data (the one that holds bags/)'),
        Parameter('out', '', 'folder for policies and curves; a training found there is gone on with'),
        Parameter('tasks_file', '', 'the task set; empty for the shipped config/tasks.yaml'),
        Parameter('cell_file', '', "the cell's configuration; empty for the shipped config/cell.yaml"),
        Parameter('preset', 'small', 'trainer preset: small, paper, or a YAML file like theirs'),
        Parameter('changes', [''], 'changes of the preset, such as export_seconds=30'),
        Parameter('setting', 'eased', 'action space', choices=('eased', 'full')),
        Parameter('impersonation', 'skill', 'which tasks an episode trains', choices=tuple(Impersonation)),
        Parameter('outcomes', list(DEFAULT_SOURCES), 'whose outcomes count, the first that has one'),
        Parameter('start', '', 'checkpoint of a policy to start from'),
        Parameter('refresh_seconds', 5.0, 's between two looks for new episodes and outcomes', 0.1),
        Parameter('threads', 0, 'CPU threads for torch; 0 takes all cores', 0, 1024),
    )

    def __init__(self) -> None:
        super().__init__()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._training: Training | None = None

    def configure(self) -> None:
        """Read the parameters."""
        cell_file, start = self.value('cell_file'), self.value('start')
        if not self.value('bags') or not self.value('out'):
            raise TrainingError('the parameters bags and out must name folders')
        self._options = TrainingOptions(
            data=DataFolder(Path(self.value('bags'))),
            out=Path(self.value('out')),
            tasks=load_tasks(self.value('tasks_file')),
            cell=load_cell(Path(cell_file) if cell_file else None),
            preset=self.value('preset'),
            overrides=tuple(change for change in self.value('changes') if change),
            setting=self.value('setting'),
            impersonation=Impersonation(self.value('impersonation')),
            sources=tuple(self.value('outcomes')),
            start=Path(start) if start else None,
            refresh_seconds=self.value('refresh_seconds'),
        )
        if self.value('threads'):
            torch.set_num_threads(self.value('threads'))
        self._model_version = self.create_publisher(ModelVersion, 'policy/model_version', LATCHED)

    def activate(self) -> None:
        """Start training, from where an earlier training in the same folder stopped."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._train, name='training')
        self._thread.start()

    def deactivate(self) -> None:
        """Stop after exporting what has been learned."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def stepped(self, step: int, interval: Interval) -> None:
        """Publish how the training goes with the diagnostics."""
        episodes = 0 if self._training is None else self._training.measured.episodes
        self.figures(step=step, loss=round(interval.loss, 4), episodes=episodes)

    def exported(self, path: Path, manifest: PolicyManifest) -> None:
        """Announce a new policy."""
        version = model_version_to_message(manifest, path, self.get_clock().now().nanoseconds)
        self.figures(version=manifest.version)
        # The last export comes after SIGINT, when ROS is shut down already.
        if self.context.ok():
            self._model_version.publish(version)

    def _train(self) -> None:
        """Train until told to stop: what ends a training, a full disk or a label store that is held, may pass."""
        while not self._stop.is_set():
            try:
                self._train_once()
            except MtoptError as error:
                self.report(ERROR, f'{error}. Trying again by itself every {WAIT_SECONDS:g} s')
            except Exception as error:
                # Nobody waits for this thread: without a word the node would stay alive and train no more.
                self.get_logger().error(traceback.format_exc())
                self.report(ERROR, f'training failed: {type(error).__name__}: {error}')
            self._stop.wait(WAIT_SECONDS)

    def _train_once(self) -> None:
        """Go on from the last export, until told to stop."""
        self._training = training = Training(self._options)
        while not self._stop.is_set() and not self._has_data(training):
            self._stop.wait(WAIT_SECONDS)
        if not self._stop.is_set():
            self.report(OK, 'training')
            training.run(sys.maxsize, self._stop, self)

    def _has_data(self, training: Training) -> bool:
        training.read()
        try:
            training.require_data()
        except TrainingError as error:
            self.report(WARN, f'waiting: {error}')
            return False
        return True


def main() -> None:
    """Run the node."""
    sys.exit(run(TrainerNode))


if __name__ == '__main__':
    main()

"""Training the detector from the page: one training at a time, in a process of its own, which can be stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from mtopt_core.checkpoint import load_manifest, newest_checkpoint
from mtopt_core.child_processes import die_with_parent
from mtopt_core.configuration import load_cell
from mtopt_core.errors import LabelError, MtoptError
from mtopt_core.label_store import HUMAN
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.trainer import train_detector
from mtopt_web.site import Site

NICENESS = 5
"""Of the training: the page goes before it."""
STOPPED = 'it was stopped. “Train” with as many steps goes on where it was'


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        running: Whether it goes on.
        done: Steps made.
        steps: Of so many.
        version: What came of it, empty before its end.
        trouble: Why nothing came of it.
    """

    running: bool = False
    done: int = 0
    steps: int = 1
    version: str = ''
    trouble: str = ''


class Retraining:
    """The training of a site; any thread may look.

    Attributes:
        progress: How far it is; of the last one when none runs.
    """

    def __init__(self, site: Site) -> None:
        self.progress = Progress()
        self._site = site
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._stopped = False

    def start(self, steps: int) -> None:
        """Train on all labels people gave, from the newest version where there is one.

        Must be called by a thread that stays: the training ends with it.

        Raises:
            LabelError: A training runs already.
        """
        with self._lock:
            if self.progress.running:
                raise LabelError('a training runs already; wait for its end, or stop it')
            self.progress, self._stopped = Progress(running=True, steps=steps), False
            site, context = self._site, multiprocessing.get_context('spawn')
            reports, sender = context.Pipe(duplex=False)
            arguments = (os.getpid(), sender, site.data, site.tasks, site.checkpoints, steps)
            self._process = context.Process(target=_train, args=arguments, name='training')
            self._process.start()
            sender.close()  # the process has its own end, so that its death ends the reports
            threading.Thread(target=self._follow, args=(reports, self._process), name='training', daemon=True).start()

    def stop(self) -> None:
        """End the training that runs, if one does; what it has come to is kept for the next one."""
        with self._lock:
            if self._process is not None and self._process.is_alive():
                self._stopped = True
                self._process.terminate()

    def _follow(self, reports: Connection, process: BaseProcess) -> None:
        progress = self.progress
        with suppress(EOFError), reports:
            while True:
                progress = reports.recv()
                if progress.running:
                    self.progress = progress
        process.join()
        if progress.running:
            progress = replace(progress, running=False, trouble=self._why_it_died(process.exitcode or 0))
        self.progress = progress

    def _why_it_died(self, exit_code: int) -> str:
        if self._stopped:
            return STOPPED
        if exit_code == -signal.SIGKILL:
            return 'its process was killed; is there memory left? “Train” with as many steps goes on where it was'
        return f'its process ended with status {exit_code}; what it said is where `mtopt web` runs'


def _train(parent: int, reports: Connection, data: DataFolder, tasks: TaskSet, checkpoints: Path, steps: int) -> None:
    """Train in this process, and tell how far it is, at last what came of it."""
    die_with_parent(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the page's end is this one's
    os.nice(NICENESS)
    try:
        version = _trained(reports, data, tasks, checkpoints, steps)
    except MtoptError as error:
        reports.send(Progress(steps=steps, trouble=str(error)))
    except Exception as error:
        # Whatever it is, the person at the page waits for a word.
        reports.send(Progress(steps=steps, trouble=f'{type(error).__name__}: {error}'))
        raise
    else:
        reports.send(Progress(done=steps, steps=steps, version=version))


def _trained(reports: Connection, data: DataFolder, tasks: TaskSet, checkpoints: Path, steps: int) -> str:
    start = newest_checkpoint(checkpoints)
    if start is None:
        configuration = DetectorConfiguration.small(len(tasks)).of_tasks(tasks).looking_at(load_cell().regions)
    else:
        configuration = load_manifest(start, DetectorManifest).network.of_tasks(tasks)
    dataset = load_dataset(data, tasks, [HUMAN], configuration)

    def stepped(done: int, _loss: float) -> None:
        reports.send(Progress(running=True, done=done, steps=steps))

    _, manifest = train_detector(
        dataset,
        tasks,
        [HUMAN],
        configuration,
        TrainingConfiguration(steps=steps),
        checkpoints,
        start=start,
        on_step=stepped,
    )
    return manifest.version

"""Training the detector from the page, one training at a time, beside everything else the page does."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mtopt_core.checkpoint import load_manifest, newest_checkpoint
from mtopt_core.errors import LabelError, MtoptError
from mtopt_core.label_store import HUMAN
from mtopt_success_detector.dataset import load_dataset
from mtopt_success_detector.manifest import DetectorManifest, TrainingConfiguration
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.trainer import train_detector
from mtopt_web.site import Site


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

    def start(self, steps: int) -> None:
        """Train on all labels people gave, from the newest version where there is one.

        Raises:
            LabelError: A training runs already.
        """
        with self._lock:
            if self.progress.running:
                raise LabelError('a training runs already; wait for its end')
            self.progress = Progress(running=True, steps=steps)
        threading.Thread(target=self._run, args=(steps,), name='training', daemon=True).start()

    def _run(self, steps: int) -> None:
        try:
            version = self._train(steps)
        except MtoptError as error:
            self.progress = Progress(steps=steps, trouble=str(error))
        except Exception as error:
            # Whatever it is, the person at the page waits for a word.
            self.progress = Progress(steps=steps, trouble=f'{type(error).__name__}: {error}')
            raise
        else:
            self.progress = Progress(done=steps, steps=steps, version=version)

    def _train(self, steps: int) -> str:
        site = self._site
        start = newest_checkpoint(site.checkpoints)
        if start is None:
            configuration = DetectorConfiguration.small(len(site.tasks))
        else:
            before = load_manifest(start, DetectorManifest).network
            configuration = before.model_copy(update={'tasks': len(site.tasks)})
        dataset = load_dataset(site.data, site.tasks, [HUMAN], configuration)

        def stepped(done: int, _loss: float) -> None:
            self.progress = Progress(running=True, done=done, steps=steps)

        _, manifest = train_detector(
            dataset,
            site.tasks,
            [HUMAN],
            configuration,
            TrainingConfiguration(steps=steps),
            site.checkpoints,
            start=start,
            on_step=stepped,
        )
        return manifest.version

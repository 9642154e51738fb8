"""A person who labels, played by the simulator's truth: for the benchmarks of the success detector."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from detector_data import ALL, outcomes_of, read_truth

from mtopt_core.catalogue import Catalogue, Row
from mtopt_core.configuration import load_cell
from mtopt_core.label_store import HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.final_images import FinalImages
from mtopt_success_detector.judging import Judgements
from mtopt_success_detector.looks import Looks
from mtopt_success_detector.network import DetectorConfiguration
from mtopt_success_detector.review_queue import questions
from mtopt_success_detector.splits import Split, splits_of

CONFIGURATION = DetectorConfiguration.small(len(ALL)).of_tasks(ALL).looking_at(load_cell().regions)


def configuration(tasks: TaskSet) -> DetectorConfiguration:
    """Return the network that is measured: three views of 64 px, whole and of the regions."""
    return CONFIGURATION.of_tasks(tasks)


class Pool:
    """Episodes that can be labelled, and the truth about them.

    Args:
        root: The data folder.
        looks: What the detector sees of them.

    Attributes:
        rows: The episodes.
        final_images: Their images.
        truth: What is true of each, by id and task.
    """

    def __init__(self, root: Path, looks: Looks = CONFIGURATION.looks) -> None:
        self.root = root
        catalogue = Catalogue(DataFolder(root))
        with progress_bar(f'Cataloguing {root.name}') as report:
            catalogue.refresh(report)
        self.rows: list[Row] = catalogue.episodes()
        self.final_images = FinalImages(DataFolder(root), looks)
        with progress_bar(f'Reading {root.name}') as report:
            self.final_images.read({row.episode_id: row.path for row in self.rows}, report)
        self.truth = read_truth(root)
        self.ids = [row.episode_id for row in self.rows]
        self.skills = np.array([row.skill for row in self.rows])
        self.attempted = np.array([row.task for row in self.rows])
        splits = splits_of(self.rows)
        self.splits = np.array([splits[episode_id] for episode_id in self.ids])

    def outcomes(self, tasks: TaskSet) -> np.ndarray:
        """Return the truth as `(N, T) float32`, 1 and 0."""
        return np.array([[self.truth[name][task] for task in tasks.names] for name in self.ids], np.float32)

    def own_skill(self, tasks: TaskSet) -> np.ndarray:
        """Return whether the episodes are of the tasks' skills, `(N, T) bool`."""
        return self.skills[:, None] == np.array([task.skill for task in tasks.tasks])


class Labeller:
    """Labels episodes of a pool in a folder of its own, which shares the pool's bags and images.

    Args:
        pool: The episodes.
        root: The folder; made anew.
        tasks: The tasks asked about.
    """

    def __init__(self, pool: Pool, root: Path, tasks: TaskSet) -> None:
        self.pool, self.data, self.tasks = pool, DataFolder(root), tasks
        self.asked = np.zeros((len(pool.ids), len(tasks)), bool)
        if not root.exists():
            root.mkdir(parents=True)
            for shared in ('bags', 'final_images'):
                (root / shared).symlink_to((pool.root / shared).resolve())
            shutil.copy(pool.root / 'catalogue.sqlite', root)
        self._labels_validation()

    def draw(self, per_task: int, rng: np.random.Generator, only: Sequence[str] = ()) -> None:
        """Label training episodes at random until every task has so many labels.

        Half of a task's are drawn from episodes that attempted it, where successes are, half from all of its skill.

        Args:
            per_task: Labels of each task.
            rng: Source of the choice.
            only: Tasks that are labelled; all without.
        """
        for t, task in enumerate(self.tasks.tasks):
            if only and task.name not in only:
                continue
            attempted = self._free(t) & (self.pool.attempted == task.name)
            wanted = per_task - int(self._of_training(t).sum())
            chosen = rng.permutation(np.flatnonzero(attempted))[: wanted // 2].tolist()
            rest = self._free(t)
            rest[chosen] = False
            chosen += rng.permutation(np.flatnonzero(rest))[: wanted - len(chosen)].tolist()
            self._label({(row, t) for row in chosen})

    def show(self, number: int, rng: np.random.Generator, task: str) -> None:
        """Label so many successes of a task, and as many failures: what a person shows on purpose."""
        t = self.tasks.index(task)
        solved = self.pool.outcomes(self.tasks)[:, t] == 1
        for kind in (solved, ~solved):
            self._label({(row, t) for row in rng.permutation(np.flatnonzero(self._free(t) & kind))[:number].tolist()})

    def answer(self, per_task: int, judged: Judgements, rng: np.random.Generator, only: Sequence[str] = ()) -> None:
        """Label what the review queue asks until every task has so many labels.

        Args:
            per_task: Labels of each task.
            judged: What the newest detector says of the pool's episodes.
            rng: Of the queue's random questions.
            only: Tasks that are asked about; all without.
        """
        for t, task in enumerate(self.tasks.names):
            if only and task not in only:
                continue
            wanted = per_task - int(self._of_training(t).sum())
            queue = questions(judged, t, self._free(t), rng)
            self._label({(question.row, t) for question, _ in zip(queue, range(wanted), strict=False)})

    def counts(self) -> str:
        """Return how many labels say success, by task."""
        truth = self.pool.outcomes(self.tasks)
        return ', '.join(
            f'{task} {int(truth[self._of_training(t), t].sum())}/{int(self._of_training(t).sum())}'
            for t, task in enumerate(self.tasks.names)
        )

    def _free(self, t: int) -> np.ndarray:
        training = self.pool.splits == Split.TRAIN
        return training & (self.pool.skills == self.tasks.tasks[t].skill) & ~self.asked[:, t]

    def _of_training(self, t: int) -> np.ndarray:
        return self.asked[:, t] & (self.pool.splits == Split.TRAIN)

    def _labels_validation(self) -> None:
        own = self.pool.own_skill(self.tasks) & (self.pool.splits == Split.VALIDATION)[:, None]
        self._label(set(zip(*map(np.ndarray.tolist, np.nonzero(own)), strict=True)))

    def _label(self, pairs: Iterable[tuple[int, int]]) -> None:
        said: dict[str, dict[str, bool]] = {}
        for row, t in pairs:
            self.asked[row, t] = True
            name, task = self.pool.ids[row], self.tasks.names[t]
            said.setdefault(name, {})[task] = self.pool.truth[name][task]
        self._store(said)

    def _store(self, said: Mapping[str, dict[str, bool]]) -> None:
        store = LabelStore(self.data)
        store.add_many(HUMAN, '', {name: outcomes_of(truth) for name, truth in said.items()}, 'the simulator')
        store.close()

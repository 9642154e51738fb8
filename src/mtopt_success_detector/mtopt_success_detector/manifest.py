"""What a detector's checkpoint says about itself: its model card, beside what every checkpoint says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mtopt_core.checkpoint import Manifest
from mtopt_core.tasks import TaskSet
from mtopt_success_detector.calibration import Calibration
from mtopt_success_detector.drift import Reference
from mtopt_success_detector.evaluation import TaskMetrics, Threshold
from mtopt_success_detector.network import DetectorConfiguration

Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class ThresholdRule(BaseModel):
    """By what the thresholds are chosen.

    Attributes:
        false_positive_rate: Share of validation failures that may pass as success.
        unsure: Largest share of validation episodes whose verdict may be unsure.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    unsure: Share = 0.03


class TrainingConfiguration(BaseModel):
    """How a detector is trained.

    Attributes:
        steps: Gradient steps.
        batch: Episodes of a gradient step.
        learning_rate: Highest learning rate; it rises to it and falls to zero.
        l2: Decay of the weights per unit of learning rate.
        shift: Largest random shift of an image, as a share of its side.
        turn: Largest random turn of a rectified image, rad.
        mirror: Share of the episodes whose rectified images are mirrored, where the task file says what becomes of
            their tasks.
        brightness: Largest random change of brightness, of a range of 1.
        contrast: Largest random relative change of contrast.
        tint: Largest random relative change of one colour, as coloured light makes.
        saturation: Largest random relative change of saturation.
        view_dropout: Share of the views hidden, so that any subset of the cameras will do.
        seed: Of everything random.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    steps: Count = 1200
    batch: Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    l2: Annotated[float, Field(ge=0)] = 0.01
    shift: Share = 0.05
    turn: Annotated[float, Field(ge=0)] = 0.4
    mirror: Share = 0.5
    brightness: Share = 0.15
    contrast: Share = 0.15
    tint: Share = 0.1
    saturation: Share = 0.2
    view_dropout: Share = 0.6
    seed: int = 0


class LabelCounts(BaseModel):
    """Labels of one task in one split.

    Attributes:
        successes: Labels that say success.
        failures: Labels that say failure.
        implied: Outcomes, of both kinds together, that follow from labels of other tasks.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    successes: int
    failures: int
    implied: int


class DetectorManifest(Manifest):
    """Manifest of a success detector.

    Attributes:
        network: Which network the weights are of, and the views and size of the images it sees.
        training: How it was trained.
        started_from: Version whose weights it started from, empty for none.
        episodes: Number of labelled episodes in each split, by the split's name.
        first_episode: Id of the first of them.
        last_episode: Id of the last of them.
        labels: Labels it saw, by the split's name and the task's.
        calibration: What turns its logits into probabilities.
        rule: By what the thresholds were chosen.
        thresholds: Where a task's verdict turns. A task that is missing had no success or no failure to learn from: its
            verdict is `UNSURE`.
        held_out: Figures of every task with a threshold on test episodes, which chose nothing.
        references: What is usual, by task, for the alarm when that changes.
    """

    kind: Literal['success_detector'] = 'success_detector'
    network: DetectorConfiguration
    training: TrainingConfiguration
    started_from: str = ''
    episodes: dict[str, int]
    first_episode: str
    last_episode: str
    labels: dict[str, dict[str, LabelCounts]]
    calibration: Calibration
    rule: ThresholdRule
    thresholds: dict[str, Threshold]
    held_out: dict[str, TaskMetrics]
    references: dict[str, Reference]

    def renamed(self, tasks: TaskSet) -> DetectorManifest:
        """Return the manifest with the names that the tasks have now."""

        def by_name(figures: dict[str, Any]) -> dict[str, Any]:
            return {tasks.current_name(name): value for name, value in figures.items()}

        return self.model_copy(
            update={
                'tasks': tuple(map(tasks.current_name, self.tasks)),
                'labels': {split: by_name(counts) for split, counts in self.labels.items()},
                'thresholds': by_name(self.thresholds),
                'held_out': by_name(self.held_out),
                'references': by_name(self.references),
            }
        )

"""What a detector's checkpoint says about itself: its model card, beside what every checkpoint says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mtopt_core.checkpoint import Manifest
from mtopt_success_detector.evaluation import TaskMetrics, Threshold
from mtopt_success_detector.network import DetectorConfiguration

Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfiguration(BaseModel):
    """How a detector is trained.

    Attributes:
        steps: Gradient steps.
        batch: Episodes of a gradient step.
        learning_rate: Highest learning rate; it rises to it and falls to zero.
        l2: Decay of the weights per unit of learning rate.
        shift: Largest random shift of an image, as a share of its side.
        brightness: Largest random change of brightness, of a range of 1.
        contrast: Largest random relative change of contrast.
        view_dropout: Share of the views hidden.
        false_positive_rate: Share of validation failures the thresholds let pass as success.
        seed: Of everything random.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    steps: Count = 1200
    batch: Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    l2: Annotated[float, Field(ge=0)] = 0.01
    shift: Share = 0.05
    brightness: Share = 0.15
    contrast: Share = 0.15
    view_dropout: Share = 0.15
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    seed: int = 0


class DetectorManifest(Manifest):
    """Manifest of a success detector.

    Attributes:
        network: Which network the weights are of, and the views and size of the images it sees.
        training: How it was trained.
        started_from: Version whose weights it started from, empty for none.
        episodes: Number of labelled episodes in each split, by the split's name.
        thresholds: Where a task's verdict turns to success. A task that is missing had no success or no failure to
            learn from: its verdict is `UNSURE`.
        held_out: Figures of every task with a threshold on test episodes, which chose nothing.
    """

    kind: Literal['success_detector'] = 'success_detector'
    network: DetectorConfiguration
    training: TrainingConfiguration
    started_from: str = ''
    episodes: dict[str, int]
    thresholds: dict[str, Threshold]
    held_out: dict[str, TaskMetrics]

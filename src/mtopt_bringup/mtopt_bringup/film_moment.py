"""What an episode's video shows: the decisions with what CEM tried, and the views of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtopt_core.episode import Action
from mtopt_core.viewpoint import Viewpoint


@dataclass(frozen=True)
class Titles:
    """What is the same in all frames of an episode.

    Attributes:
        task: The task attempted.
        policy: Its name and version.
        episode: Which of the evaluation.
        max_steps: Decisions after which the episode ends.
    """

    task: str
    policy: str
    episode: str
    max_steps: int


@dataclass(frozen=True)
class View:
    """What a camera sees, and from where."""

    camera: str
    picture: np.ndarray
    viewpoint: Viewpoint


@dataclass(frozen=True)
class Iteration:
    """The samples of one iteration of CEM.

    Attributes:
        targets: Where the gripper's tip would go, `(N, 3)` m, base frame.
        choices: The discrete choice of each, `(N,) int`.
        q: Q of each in [0, 1], `(N,)`.
    """

    targets: np.ndarray
    choices: np.ndarray
    q: np.ndarray


@dataclass(frozen=True)
class Decision:
    """One decision of the policy.

    Attributes:
        tip: Where the gripper's tip was, `(3,)` m, base frame.
        action: What was decided.
        iterations: What CEM tried, nothing where it was not asked.
    """

    tip: np.ndarray
    action: Action
    iterations: tuple[Iteration, ...]

    @property
    def q_range(self) -> tuple[float, float]:
        """Lowest and highest Q of everything tried."""
        q = np.concatenate([iteration.q for iteration in self.iterations])
        return float(q.min()), float(q.max())


@dataclass(frozen=True)
class Frame:
    """One moment of an episode.

    Attributes:
        titles: See there.
        views: The views, side by side.
        decisions: Those made so far; the last one is shown.
        searching: Which of its iterations is shown; none while the arm moves.
        success: How it ended; none before.
    """

    titles: Titles
    views: Sequence[View]
    decisions: Sequence[Decision]
    searching: int | None = None
    success: bool | None = None

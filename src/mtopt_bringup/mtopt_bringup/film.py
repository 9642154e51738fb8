"""Films an episode of the simulated cell: every decision with what CEM tried, then the motion at its own speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mtopt_bringup.film_frame import HEIGHT, VIEW, WIDTH, draw
from mtopt_bringup.film_moment import Decision, Frame, Iteration, Titles, View
from mtopt_bringup.video_file import VideoFile
from mtopt_core.configuration import MAIN, WRIST
from mtopt_core.episode import Action, Observation
from mtopt_policy.action_space import choice_of
from mtopt_policy.policy import Policy
from mtopt_policy.q_policy import QFunctionPolicy
from mtopt_sim.cell import Cell

FRAME_RATE = 25
MOVES_PER_FRAME = 10
"""Of 4 ms each, so that the arm moves as fast as it really does."""

SEARCH_FRAMES, ACTION_FRAMES, END_FRAMES = 12, 8, 40
"""How long an iteration of CEM, the action decided on, and the outcome stand still."""


class Film:
    """Looks on while an episode runs, as a `Witness` and as the watcher of a policy's searches.

    Args:
        video: Where the frames go.
        name: Of the video.
        cell: The cell filmed.
        titles: Of every frame.
        policy: Who decides.
    """

    def __init__(self, video: VideoFile, name: str, cell: Cell, titles: Titles, policy: Policy) -> None:
        self._video = video
        self._name = name
        self._cell = cell
        self._titles = titles
        self._policy = policy
        self._searched: list[tuple[np.ndarray, np.ndarray]] = []
        self._decisions: list[Decision] = []
        self._moves = 0

    def searched(self, actions: torch.Tensor, logits: torch.Tensor) -> None:
        """Take note of an iteration of CEM; see `mtopt_policy.q_policy.Watcher`."""
        self._searched.append((actions[0].numpy().copy(), logits[0].float().sigmoid().numpy()))

    def decided(self, observation: Observation, action: Action) -> None:
        """Show a decision; see `Witness.decided`."""
        iterations = tuple(self._iteration(observation, *searched) for searched in self._searched)
        self._searched.clear()
        self._decisions.append(Decision(observation.tip_position, action, iterations))
        views = self._views()
        for number in range(len(iterations)):
            self._video.add(self._frame(views, searching=number), SEARCH_FRAMES)
        self._video.add(self._frame(views), ACTION_FRAMES)

    def moved(self) -> None:
        """Show the arm on its way; see `Witness.moved`."""
        self._moves += 1
        if self._moves % MOVES_PER_FRAME == 0:
            self._video.add(self._frame(self._views()))

    def ended(self, success: bool) -> None:
        """Show the outcome and complete the video.

        Raises:
            VideoError: It cannot be written.
        """
        self._video.add(self._frame(self._views(), success=success), END_FRAMES)
        self._video.finish(f'{self._name}_{"success" if success else "failure"}.mp4')

    def _views(self) -> list[View]:
        return [View(camera, self._cell.render(camera, VIEW), self._cell.viewpoint(camera)) for camera in (MAIN, WRIST)]

    def _frame(self, views: list[View], searching: int | None = None, success: bool | None = None) -> np.ndarray:
        return draw(Frame(self._titles, views, self._decisions, searching, success))

    def _iteration(self, observation: Observation, actions: np.ndarray, q: np.ndarray) -> Iteration:
        """Return an iteration's samples as the cell sees them."""
        assert isinstance(self._policy, QFunctionPolicy)
        tried = [self._policy.manifest.action_space.decode(vector, observation) for vector in actions]
        targets = observation.tip_position + np.stack([action.displacement for action in tried])
        return Iteration(targets, np.array([choice_of(action) for action in tried]), q)


@contextmanager
def filming(folder: Path, name: str, cell: Cell, titles: Titles, policy: Policy) -> Iterator[Film]:
    """Film an episode while the context lasts; ended, it becomes `<name>_success.mp4` or `<name>_failure.mp4`.

    Args:
        folder: Of the videos, made when missing.
        name: Of the video.
        cell: The cell filmed.
        titles: Of every frame.
        policy: Who decides.

    Raises:
        VideoError: It cannot be written.
    """
    with VideoFile(folder, name, (WIDTH, HEIGHT), FRAME_RATE) as video:
        film = Film(video, name, cell, titles, policy)
        if isinstance(policy, QFunctionPolicy):
            policy.watcher = film.searched
        try:
            yield film
        finally:
            if isinstance(policy, QFunctionPolicy):
                policy.watcher = None

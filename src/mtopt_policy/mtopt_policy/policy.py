"""What every policy is to those who run it."""

from __future__ import annotations

from typing import Protocol

from mtopt_core.episode import Action, Observation


class Policy(Protocol):
    """Decides one action per observation, one episode at a time."""

    @property
    def name(self) -> str:
        """Return `scripted` or `learned`: who decides in the episode begun last."""

    @property
    def model_version(self) -> str:
        """Return the checkpoint's version, empty for a script."""

    @property
    def views(self) -> tuple[str, ...]:
        """Return the cameras whose images an observation must have."""

    def begin(self, task: str, seed: int) -> None:
        """Start an episode of a task; the same seed and observations give the same actions.

        Raises:
            UnknownTaskError: The policy does not know the task.
        """

    def act(self, observation: Observation) -> Action:
        """Decide.

        An action with `terminate` ends the episode: nothing moves any more. Actions of `Source.ENDING` belong to a
        scripted ending, which closes with a terminating one.
        """

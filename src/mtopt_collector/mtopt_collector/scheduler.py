"""Decides what the arm practises next (paper sections III and VI).

A task for each episode, drawn by the curriculum's chances or evenly without one, lift before place: when a lift ended
with something in the hand, placing it comes next, from the same scene. Otherwise another lift is tried in the same
scene until the scene is spent: after a number of episodes, or when nothing was lifted for a while because what is left
lies out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtopt_collector.curriculum import Chooser, Curriculum
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import TaskSet

LIFT, PLACE = 'lift', 'place'
ANY_LIFT = 'lift-any'


@dataclass(frozen=True)
class Assignment:
    """One episode to collect.

    Attributes:
        task: Name of the task.
        skill: Its skill, which says where the arm starts.
        seed: Of the policy and of the reset.
        new_scene: Whether the scene is made anew first.
        holding: Whether an object is, or with a new scene shall be, in the hand at the start.
        previous_episode_id: The lift this place goes on from, else empty.
    """

    task: str
    skill: str
    seed: int
    new_scene: bool
    holding: bool = False
    previous_episode_id: str = ''


class Scheduler:
    """Chooses the episodes of one robot.

    Args:
        tasks: All tasks.
        seed: Same seed and same results, same choices.
        episodes_per_scene: Episodes after which a scene is spent.
        tries_without_lift: Lifts without success after which a scene is spent.
        chain: Whether a place follows a lift that succeeded.
        by_hand: A person makes new scenes: one is there at the start, and a fault does not spend it.
        chooser: Chooses among the tasks of a skill; none chooses evenly.

    Raises:
        ConfigurationError: The task set has no lift, or a place but no task that any lift solves.
    """

    def __init__(
        self,
        tasks: TaskSet,
        seed: int,
        episodes_per_scene: int = 10,
        tries_without_lift: int = 5,
        chain: bool = True,
        by_hand: bool = False,
        chooser: Chooser | None = None,
    ) -> None:
        self._tasks = tasks
        self._chooser = chooser or Chooser(Curriculum())
        self._lifts, self._places = (
            tuple(task.name for task in tasks.attempted if task.skill == skill) for skill in (LIFT, PLACE)
        )
        if not self._lifts:
            raise ConfigurationError(
                f'no task of skill {LIFT!r}: the scheduler starts with lifts; add one to tasks.yaml'
            )
        self._chain = chain and bool(self._places)
        if self._chain and ANY_LIFT not in self._lifts:
            raise ConfigurationError(
                f'task {ANY_LIFT!r} is missing: it tells whether something is in the hand for placing; '
                'add it to tasks.yaml or switch the chain off'
            )
        self._rng = np.random.default_rng(seed)
        self._episodes_per_scene = episodes_per_scene
        self._tries_without_lift = tries_without_lift
        self._by_hand = by_hand
        self._scene_ready = by_hand
        self._episodes = 0
        self._tries = 0
        self._held_since = ''
        self._spent = False

    def chances(self) -> dict[str, float]:
        """Return every task's probability to be the next of its skill."""
        return {**self._chooser.chances(self._lifts), **(self._chooser.chances(self._places) if self._places else {})}

    def next(self) -> Assignment:
        """Return the next episode to collect."""
        seed = int(self._rng.integers(2**31))
        if self._spent:
            self._spent = self._scene_ready = False
            self._held_since = ''
        if self._held_since:
            return Assignment(
                self._chooser.task(self._places, self._rng),
                PLACE,
                seed,
                False,
                holding=True,
                previous_episode_id=self._held_since,
            )
        task = self._chooser.task(self._lifts, self._rng)
        return Assignment(task, LIFT, seed, new_scene=not self._scene_ready)

    def requested(self, task: str, seed: int | None = None) -> Assignment:
        """Return an episode of a task somebody asked for, in a new scene unless a person would have to make it.

        Raises:
            UnknownTaskError: There is no such task.
        """
        skill = self._tasks[task].skill
        drawn = int(self._rng.integers(2**31)) if seed is None else seed
        new_scene = not (self._by_hand and self._scene_ready and skill == LIFT)
        return Assignment(task, skill, drawn, new_scene, holding=skill == PLACE)

    def finished(self, assignment: Assignment, episode_id: str, successes: set[str], graded: bool = True) -> None:
        """Learn what came of an episode.

        Args:
            assignment: The episode.
            episode_id: Its id.
            successes: Tasks solved in its final image.
            graded: Somebody graded it; before there is a detector nobody knows what was lifted.
        """
        if assignment.new_scene:
            self._episodes = self._tries = 0
        self._episodes += 1
        held = assignment.skill == LIFT and ANY_LIFT in successes
        if assignment.skill == LIFT and graded:
            self._tries = 0 if held else self._tries + 1
        self._held_since = episode_id if held and self._chain else ''
        self._scene_ready = self._episodes < self._episodes_per_scene and self._tries < self._tries_without_lift

    def spend(self) -> None:
        """Have the scene made anew before the next episode, which then is a lift."""
        self._spent = True

    def failed(self) -> None:
        """Learn that an episode was cut short: nobody knows what the scene looks like now."""
        self._scene_ready = self._scene_ready and self._by_hand
        self._held_since = ''

    def renewed(self) -> None:
        """Learn that a person has made the scene anew."""
        self._scene_ready, self._spent = True, False
        self._episodes = self._tries = 0
        self._held_since = ''

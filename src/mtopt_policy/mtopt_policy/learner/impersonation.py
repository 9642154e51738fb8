"""Task impersonation (paper section IV-B, Algorithm 1): one episode trains the policy for several tasks.

Unlike hindsight relabelling it yields failures as well as successes: "The success example determines what the task
is, while the failure example determines what the task is not" (paper appendix X-C).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mtopt_core.tasks import TaskSet


class Impersonation(StrEnum):
    """The impersonation function f_I."""

    NONE = 'none'
    """f_orig: the episode trains its own task only."""
    ALL = 'all'
    """f_all: the episode trains every task."""
    SKILL = 'skill'
    """f_skill: the episode trains the tasks of its own skill."""
    SUCCESSES = 'successes'
    """As f_skill, but without another task's failures: what paper section VII-F compares with for lift-sausage."""


@dataclass(frozen=True)
class LoggedEpisode:
    """An episode in the episode store and what came of it.

    Attributes:
        index: Its place in the episode store.
        task: Task it was collected for.
        outcomes: Whether it solved a task, by task; tasks nobody judged, or where the judge was unsure, are missing.
    """

    index: int
    task: str
    outcomes: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class ImpersonatedEpisode:
    """An episode with the reward of one task.

    Attributes:
        index: Its place in the episode store.
        task: Task it now is an example of.
        success: Whether that task was solved: the reward of its last transition.
    """

    index: int
    task: str
    success: bool


def impersonated_tasks(task: str, strategy: Impersonation, tasks: TaskSet) -> tuple[str, ...]:
    """Return the tasks {k_i} an episode collected for a task T_i is used for.

    Raises:
        UnknownTaskError: The task is not in the task set.
    """
    if strategy == Impersonation.NONE:
        return (tasks[task].name,)
    if strategy == Impersonation.ALL:
        return tasks.names
    return tasks.of_skill(tasks[task].skill)


def impersonate(episode: LoggedEpisode, strategy: Impersonation, tasks: TaskSet) -> list[ImpersonatedEpisode]:
    """Expand an episode to those it is for other tasks (paper Algorithm 1).

    Raises:
        UnknownTaskError: The episode's task is not in the task set.
    """
    expanded_episodes = []
    for task in impersonated_tasks(episode.task, strategy, tasks):
        shared = strategy != Impersonation.SUCCESSES or task == episode.task or episode.outcomes.get(task, False)
        if shared and task in episode.outcomes:
            expanded_episodes.append(ImpersonatedEpisode(episode.index, task, episode.outcomes[task]))
    return expanded_episodes

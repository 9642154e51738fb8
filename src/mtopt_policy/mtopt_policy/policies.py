"""The policies an episode can ask for by name, and where the learned one comes from."""

from __future__ import annotations

import numpy as np

from mtopt_core.episode import Action, Observation
from mtopt_core.errors import CheckpointError, ConfigurationError
from mtopt_core.tasks import TaskSet
from mtopt_policy.policy import Policy

SCRIPTED, LEARNED, MIXTURE = 'scripted', 'learned', 'mixture'
NAMES = (SCRIPTED, LEARNED, MIXTURE)
OF = ':'
"""Between `learned` and the name of another task, whose policy acts: `learned:lift-any`."""


def other_task(name: str) -> str:
    """Return the other task whose policy a name asks for, empty where it asks for the task's own."""
    policy, colon, task = name.partition(OF)
    return task if policy == LEARNED and colon else ''


class OtherTaskPolicy:
    """Lets another task's learned policy act, as lift-any's collected for new lifts (paper section VII-F).

    Args:
        learned: The learned policy.
        task: The other task.
        tasks: All tasks.
    """

    def __init__(self, learned: Policy, task: str, tasks: TaskSet):
        self._learned = learned
        self._task = tasks[task]
        self._tasks = tasks
        self.name = f'{LEARNED}{OF}{task}'

    @property
    def model_version(self) -> str:
        """Return the learned policy's version."""
        return self._learned.model_version

    @property
    def views(self) -> tuple[str, ...]:
        """Return the learned policy's views."""
        return self._learned.views

    def begin(self, task: str, seed: int) -> None:
        """Start an episode; see `Policy.begin`.

        Raises:
            ConfigurationError: The task is of another skill, so that its episodes end otherwise.
        """
        if self._tasks[task].skill != self._task.skill:
            raise ConfigurationError(
                f'policy {self.name} is of skill {self._task.skill}, {task} of {self._tasks[task].skill}; '
                'only a policy of the same skill can act for it'
            )
        self._learned.begin(self._task.name, seed)

    def act(self, observation: Observation) -> Action:
        """Decide; see `Policy.act`."""
        return self._learned.act(observation)


class MixturePolicy:
    """Draws one of two policies for each episode, as the paper's fleet while it bootstraps (sections VI, X-B).

    Args:
        scripted: The scripted policy.
        learned: The learned one.
        scripted_share: Probability of the scripted one.
    """

    def __init__(self, scripted: Policy, learned: Policy, scripted_share: float):
        self._scripted = scripted
        self._learned = learned
        self._scripted_share = scripted_share
        self._drawn = scripted

    @property
    def name(self) -> str:
        """Return the name of the policy drawn last."""
        return self._drawn.name

    @property
    def model_version(self) -> str:
        """Return the version of the policy drawn last."""
        return self._drawn.model_version

    @property
    def views(self) -> tuple[str, ...]:
        """Return the views of the policy drawn last."""
        return self._drawn.views

    def begin(self, task: str, seed: int) -> None:
        """Draw a policy and start an episode with it; see `Policy.begin`."""
        scripted = np.random.default_rng((seed, len(NAMES))).random() < self._scripted_share
        self._drawn = self._scripted if scripted else self._learned
        self._drawn.begin(task, seed)

    def act(self, observation: Observation) -> Action:
        """Decide; see `Policy.act`."""
        return self._drawn.act(observation)


def choose_policy(
    name: str, scripted: Policy, learned: Policy | None, scripted_share: float, tasks: TaskSet | None = None
) -> Policy:
    """Return the policy of a name.

    Args:
        name: `scripted`, `learned`, `mixture`, or `learned:<another task>` where the tasks are given.
        scripted: The scripted policy.
        learned: The learned one, none while there is no checkpoint.
        scripted_share: Probability of the scripted one in a mixture.
        tasks: All tasks.

    Raises:
        ConfigurationError: There is no policy of that name.
        UnknownTaskError: There is no such other task.
        CheckpointError: It needs a learned policy and there is none.
    """
    other = other_task(name) if tasks else ''
    if name not in NAMES and not other:
        raise ConfigurationError(f'unknown policy {name!r}; known: {", ".join(NAMES)}')
    if name == SCRIPTED:
        return scripted
    if learned is None:
        raise CheckpointError(f'policy {name!r} needs a checkpoint and none was loaded; train one or use {SCRIPTED!r}')
    if tasks and other:
        return OtherTaskPolicy(learned, other, tasks)
    return learned if name == LEARNED else MixturePolicy(scripted, learned, scripted_share)

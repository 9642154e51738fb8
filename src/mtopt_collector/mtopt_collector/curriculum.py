"""Who practises what, by which policy (paper sections III, VI and VII-F): easy tasks bootstrap hard ones.

The rules are in `config/curriculum.yaml`. A task is first collected for by policies it can learn from: a script, or the
policy of an easier task of the same skill. Its own learned policy takes over "once they are at parity".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtopt_core.errors import ConfigurationError, UnknownTaskError
from mtopt_core.paths import shipped
from mtopt_core.statistics import difference_interval
from mtopt_core.tasks import TaskSet
from mtopt_policy.policies import LEARNED, SCRIPTED, other_task

Share = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Shares = dict[str, Share]


class _Model(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class Choice(_Model):
    """Weights of the ways to choose a task; each shares out the chances by itself."""

    uniform: Share = 1.0
    least_data: Share = 0.0
    least_success: Share = 0.0
    stalest: Share = 0.0


class Parity(_Model):
    """When a task goes over to its own learned policy.

    Attributes:
        margin: Difference of success rates that does not matter; never more than half the rate of the others.
        successes: Of its learned policy, among the newest episodes that count; with fewer it is not at parity, however
            seldom the others succeed.
        episodes: Graded episodes of each side before anything is decided.
        window: Newest graded episodes of each side that count.
    """

    margin: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    successes: Annotated[int, Field(ge=1)] = 3
    episodes: Annotated[int, Field(ge=1)] = 30
    window: Annotated[int, Field(ge=1)] = 200


class Sources(_Model):
    """Policies an episode is drawn from, with their shares."""

    before: Shares = Field(default_factory=lambda: {SCRIPTED: 0.8, LEARNED: 0.2})
    at_parity: Shares = Field(default_factory=lambda: {SCRIPTED: 0.05, LEARNED: 0.95})


class Curriculum(_Model):
    """The rules of one robot."""

    choice: Choice = Choice()
    parity: Parity = Parity()
    exploration: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    sources: Sources = Sources()
    tasks: dict[str, Sources] = Field(default_factory=dict)

    def sources_of(self, task: str) -> Sources:
        """Return where a task's episodes come from."""
        return self.tasks.get(task, self.sources)

    def require_fit(self, tasks: TaskSet) -> None:
        """Check that every task and every policy named exists.

        Raises:
            ConfigurationError: One does not; the message names it.
        """
        for name in self.tasks:
            _known(tasks, name, 'tasks')
        for task in tasks.attempted:
            sources = self.sources_of(task.name)
            for when, shares in (('before', sources.before), ('at_parity', sources.at_parity)):
                place = f'{when} of {task.name}'
                if not sum(shares.values()) > 0:
                    raise ConfigurationError(f'{place}: no policy has a share; give one, such as {SCRIPTED}: 1.0')
                for policy in shares:
                    other = other_task(policy)
                    if other:
                        _known(tasks, other, place)
                        if tasks[other].skill != task.skill:
                            raise ConfigurationError(
                                f'{place}: {policy} is of skill {tasks[other].skill}, {task.name} of {task.skill}; '
                                'only a policy of the same skill can collect for it'
                            )
                    elif policy not in (SCRIPTED, LEARNED):
                        raise ConfigurationError(
                            f'{place}: unknown policy {policy!r}; known: {SCRIPTED}, {LEARNED}, {LEARNED}:<task>'
                        )


def _known(tasks: TaskSet, name: str, place: str) -> None:
    try:
        tasks.index(name)
    except UnknownTaskError as error:
        raise ConfigurationError(f'{place}: {error}') from None


def load_curriculum(file: str, robot: str, tasks: TaskSet) -> Curriculum:
    """Read a robot's rules.

    Args:
        file: The file; empty for the shipped `config/curriculum.yaml`.
        robot: The robot, whose own rules replace those of all.
        tasks: The tasks that must exist.

    Raises:
        ConfigurationError: The file cannot be read or breaks a rule; the message names file and field.
    """
    path = Path(file) if file else shipped('config', 'curriculum.yaml')
    try:
        read = yaml.safe_load(path.read_text()) or {}
        if not isinstance(read, dict):
            raise TypeError('it must be a table of names and values')
        robots: Mapping[str, Any] = read.pop('robots', None) or {}
        curriculum = Curriculum.model_validate({**read, **(robots.get(robot) or {})})
        curriculum.require_fit(tasks)
    except (OSError, yaml.YAMLError, ValidationError, TypeError, ConfigurationError) as error:
        raise ConfigurationError(f'curriculum {path}: {error}') from None
    return curriculum


@dataclass(frozen=True)
class Record:
    """What is known of a task's practice.

    Attributes:
        attempts: Episodes that attempted it, of any policy.
        idle: Other tasks attempted since the last of them.
        learned: Graded episodes of its own learned policy that count, and those solved.
        others: The same of the policies it learns from.
    """

    attempts: int = 0
    idle: int = 0
    learned: tuple[int, int] = (0, 0)
    others: tuple[int, int] = (0, 0)

    @property
    def success(self) -> float:
        """Success rate over all graded episodes that count, with one imagined success and failure."""
        graded, solved = (a + b for a, b in zip(self.learned, self.others, strict=True))
        return (solved + 1) / (graded + 2)

    @property
    def difference(self) -> tuple[float, float]:
        """95 % interval of the difference of success rates, learned minus others."""
        return difference_interval(self.learned[1], self.learned[0], self.others[1], self.others[0])


@dataclass(frozen=True)
class Drawn:
    """The policy of an episode.

    Attributes:
        policy: Its name.
        exploration: Probability of a random move.
    """

    policy: str
    exploration: float = 0.0


@dataclass
class Chooser:
    """Chooses tasks and policies by the rules and by what is known; remembers which tasks are at parity.

    Attributes:
        curriculum: The rules.
        records: What is known, by task; whoever collects keeps it up to date by `learn`.
        at_parity: Tasks that act by their own policy.
    """

    curriculum: Curriculum
    records: Mapping[str, Record] = field(default_factory=dict)
    at_parity: set[str] = field(default_factory=set)

    def learn(self, records: Mapping[str, Record]) -> None:
        """Take in what is known now, and decide anew who is at parity."""
        self.records = records
        parity = self.curriculum.parity
        for task, record in records.items():
            if min(record.learned[0], record.others[0]) < parity.episodes:
                continue
            low, high = record.difference
            margin = min(parity.margin, 0.5 * record.others[1] / record.others[0])
            if record.learned[1] < parity.successes or high < -margin:
                self.at_parity.discard(task)
            elif low > -margin:
                self.at_parity.add(task)

    def chances(self, tasks: tuple[str, ...]) -> dict[str, float]:
        """Return the probability of each of some tasks to be practised next."""
        known = [self.records.get(task, Record()) for task in tasks]
        ways = {
            'uniform': np.ones(len(tasks)),
            'least_data': np.array([1 / (1 + record.attempts) for record in known]),
            'least_success': np.array([1 - record.success for record in known]),
            'stalest': np.array([record.idle for record in known], float) + 1e-9,
        }
        weights = self.curriculum.choice.model_dump()
        if not any(weights.values()):
            weights = {'uniform': 1.0}
        chances = sum((weight * ways[way] / ways[way].sum() for way, weight in weights.items()), np.zeros(len(tasks)))
        return dict(zip(tasks, (chances / chances.sum()).tolist(), strict=True))

    def task(self, tasks: tuple[str, ...], rng: np.random.Generator) -> str:
        """Draw one of some tasks."""
        chances = self.chances(tasks)
        return str(rng.choice(list(chances), p=list(chances.values())))

    def shares(self, task: str, have_learned: bool) -> dict[str, float]:
        """Return the policies a task is drawn from now, with shares that add up to one.

        Args:
            task: The task.
            have_learned: Whether there is a learned policy at all; without one the script stands in.
        """
        sources = self.curriculum.sources_of(task)
        shares = sources.at_parity if task in self.at_parity else sources.before
        if not have_learned:
            shares = {SCRIPTED: 1.0}
        total = sum(shares.values())
        return {policy: share / total for policy, share in shares.items() if share > 0}

    def policy(self, task: str, seed: int, have_learned: bool) -> Drawn:
        """Draw the policy of an episode; the same seed, the same policy."""
        shares = self.shares(task, have_learned)
        # A stream of its own: the policy itself draws from the seed too.
        rng = np.random.default_rng((seed, 1))
        policy = str(rng.choice(list(shares), p=list(shares.values())))
        return Drawn(policy, 0.0 if policy == SCRIPTED else self.curriculum.exploration)

"""Collects episodes (paper section III): reset or chain, record, run the policy, grade for every task.

Whatever breaks ends the episode cleanly: its bag is closed as aborted and the next episode starts from a new scene.
Only a row of failures stops the collection, with a message for a person.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from mtopt_collector.curriculum import Drawn
from mtopt_collector.practice import Practice, TaskPractice
from mtopt_collector.scheduler import Assignment, Scheduler
from mtopt_core.catalogue import Catalogue
from mtopt_core.episode import Episode, EpisodeInfo, Outcome, Termination, Verdict, new_episode_id
from mtopt_core.episode_bag import read_episode, read_outcomes
from mtopt_core.errors import BagError, MtoptError
from mtopt_core.label_store import DETECTOR, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder

NOBODY = 'none'
CURRICULUM = 'curriculum'
"""The policy that stands for: drawn by the curriculum."""


class State(IntEnum):
    """What the collector is doing; numbers as in mtopt_msgs/CollectorStatus."""

    IDLE = 0
    RESETTING = 1
    RUNNING = 2
    GRADING = 3
    PAUSED = 4
    NEEDS_PERSON = 5
    WAITING = 6


class Fault(IntEnum):
    """What went wrong with an episode; numbers as in mtopt_msgs/CollectEpisode."""

    UNKNOWN = 300
    RESET_FAILED = 301
    RECORDER_FAILED = 302
    POLICY_FAILED = 303
    GRADING_FAILED = 304
    CANCELED = 305
    BUSY = 306


class CollectionError(MtoptError):
    """An episode could not be collected.

    Attributes:
        fault: What went wrong.
        needs_person: Trying again is of no use; the message says what to do.
        passing: Something around the episode broke that is watched over and waited for, such as a node that died; it
            says nothing about the cell.
        task: The one attempted; empty where it was not even begun.
        episode_id: Of the episode that was cut short.
        bag: Of that episode, where there is one.
    """

    task = episode_id = ''
    bag: Path | None = None

    def __init__(self, fault: Fault, message: str, needs_person: bool = False, passing: bool = False) -> None:
        super().__init__(message)
        self.fault = fault
        self.needs_person = needs_person
        self.passing = passing or fault is Fault.CANCELED


@dataclass(frozen=True)
class PolicyRun:
    """How a policy ran.

    Attributes:
        steps: Actions taken.
        termination: Why it ended.
        policy: The one that ran, `scripted` or `learned`.
        model_version: Of its checkpoint.
        decision_time: s, median over the episode.
        step_times: s of wall time from each action to the next.
        final_stamp: Of the final observation, ns.
        message: Why it was aborted.
        fault: What went wrong, where something did.
        passing: As of `CollectionError`.
    """

    steps: int
    termination: Termination
    policy: str
    model_version: str = ''
    decision_time: float = 0.0
    step_times: tuple[float, ...] = ()
    final_stamp: int = 0
    message: str = ''
    fault: Fault | None = None
    passing: bool = False


@dataclass(frozen=True)
class Recorded:
    """What the recorder says about an episode: its bag, the messages in it, those lost, and what is missing."""

    path: Path
    messages: int
    dropped: int
    missing: str = ''


class Robot(Protocol):
    """The robot's other nodes, as the collection drives them. Every method raises `CollectionError` when it fails."""

    def reset(self, assignment: Assignment) -> int:
        """Make the cell ready; returns the stamp from which observations show it, ns."""

    def start_recording(self, info: EpisodeInfo) -> None:
        """Start the episode's bag."""

    def run_policy(self, info: EpisodeInfo, exploration: float) -> PolicyRun:
        """Run the policy until the episode ends; a policy that fails is a run with a fault."""

    @property
    def have_learned(self) -> bool:
        """Whether the policy node has a learned policy."""

    def finish_recording(self, info: EpisodeInfo) -> Recorded:
        """Finish the episode's bag."""

    def grade(self, episode_id: str, images: Mapping[str, bytes]) -> list[Outcome]:
        """Grade the final images for every task, as the success detector stores it; empty without a detector."""


@dataclass(frozen=True)
class Identity:
    """What every episode of a robot has in common.

    Attributes:
        robot: Its namespace.
        simulated: Whether a simulator is driven.
        configuration: JSON of limits, cameras and tasks.
    """

    robot: str
    simulated: bool
    configuration: str


@dataclass(frozen=True)
class Collected:
    """A collected episode.

    Attributes:
        info: What it is, complete.
        recorded: Its bag.
        run: How the policy ran.
        seconds: Wall time of the run.
        outcomes: As graded, one per task; empty when nobody graded.
        source: Who graded: `detector`, `simulator` or `none`.
    """

    info: EpisodeInfo
    recorded: Recorded
    run: PolicyRun
    seconds: float
    outcomes: tuple[Outcome, ...]
    source: str

    @property
    def successes(self) -> set[str]:
        """The tasks solved in the final image."""
        return {outcome.task for outcome in self.outcomes if outcome.verdict is Verdict.SUCCESS}


class Collection:
    """Collects one episode after another.

    Args:
        robot: The other nodes.
        scheduler: Decides what comes next.
        identity: What every episode has in common.
        data: Where bags, labels and catalogue are.
        grade_with: `detector`, `simulator` or `none`.
        max_failures: Failures in a row after which a person is needed.
        announce: Told every change of state, with the episode's task and id and, for a person, what to do.
        practice: Knows who practises what, for the policy `curriculum`.

    Attributes:
        episodes: Collected since start.
        successes: Of those, graded a success for the task attempted.
        needs_person: What a person must do, empty while nobody is needed.
        drawn: Policy of the running or last episode.
    """

    def __init__(
        self,
        robot: Robot,
        scheduler: Scheduler,
        identity: Identity,
        data: DataFolder,
        grade_with: str,
        max_failures: int,
        announce: Callable[[State, str, str, str], None],
        practice: Practice | None = None,
    ) -> None:
        self._practice = practice
        self.drawn = Drawn('')
        self._robot = robot
        self._scheduler = scheduler
        self._identity = identity
        self._grade_with = grade_with
        self._max_failures = max_failures
        self._announce = announce
        self._labels = LabelStore(data)
        self._catalogue = Catalogue(data)
        self._catalogued = False
        self._scene_seed = -1
        self._failures = 0
        self.episodes = 0
        self.successes = 0
        self.needs_person = ''

    def spend_scene(self) -> None:
        """Have the scene made anew before the next episode."""
        self._scheduler.spend()

    def practice(self) -> list[TaskPractice]:
        """Return how far every task has come; nothing without a curriculum."""
        if self._practice is None:
            return []
        return self._practice.of_tasks(self._scheduler.chances(), self._robot.have_learned)

    def next(self, policy: str, seed: int | None = None) -> Collected:
        """Collect the episode the scheduler chooses.

        Raises:
            CollectionError: It was cut short.
        """
        assignment = self._scheduler.next()
        return self._attempt(assignment if seed is None else replace(assignment, seed=seed), policy)

    def requested(self, task: str, policy: str, seed: int | None = None) -> Collected:
        """Collect an episode of a task in a scene of its own.

        Raises:
            CollectionError: It was cut short.
            UnknownTaskError: There is no such task.
        """
        return self._attempt(self._scheduler.requested(task, seed), policy)

    def helped(self) -> None:
        """Go on after a person has helped."""
        if self.needs_person:
            self._scheduler.renewed()
        self._failures, self.needs_person = 0, ''

    def close(self) -> None:
        """Close the label store."""
        self._labels.close()

    def _attempt(self, assignment: Assignment, policy: str) -> Collected:
        episode_id = new_episode_id(self._identity.robot)
        try:
            self.drawn = self._draw(assignment, policy)
            collected = self._collect(episode_id, assignment, self.drawn)
        except CollectionError as error:
            error.task, error.episode_id = assignment.task, episode_id
            # It may have left a bag, or the recorder one that it salvages.
            self._catalogued = False
            self._scheduler.failed()
            self._fail(error)
            raise
        self._failures = 0
        self.episodes += 1
        self.successes += assignment.task in collected.successes
        self._scheduler.finished(assignment, episode_id, collected.successes, graded=bool(collected.outcomes))
        if self._practice is not None:
            self._practice.refresh()
        self._announce(State.IDLE, assignment.task, episode_id, '')
        return collected

    def _draw(self, assignment: Assignment, policy: str) -> Drawn:
        """Return the policy of an episode, drawn where the curriculum is asked."""
        if policy != CURRICULUM:
            return Drawn(policy)
        if self._practice is None:
            raise CollectionError(
                Fault.POLICY_FAILED, f'policy {CURRICULUM!r} was asked for and there is no curriculum'
            )
        return self._practice.chooser.policy(assignment.task, assignment.seed, self._robot.have_learned)

    def _fail(self, error: CollectionError) -> None:
        self._failures += not error.passing
        if error.needs_person:
            self.needs_person = str(error)
        elif self._failures >= self._max_failures:
            self.needs_person = f'{self._failures} episodes failed in a row, the last because: {error}'
        state = State.NEEDS_PERSON if self.needs_person else State.IDLE
        self._announce(state, '', '', self.needs_person or str(error))

    def _collect(self, episode_id: str, assignment: Assignment, drawn: Drawn) -> Collected:
        info = EpisodeInfo(
            episode_id=episode_id,
            robot=self._identity.robot,
            task=assignment.task,
            skill=assignment.skill,
            policy=drawn.policy,
            previous_episode_id=assignment.previous_episode_id,
            seed=assignment.seed,
            simulated=self._identity.simulated,
            configuration=self._configuration(assignment, drawn),
        )
        self._announce(State.RESETTING, info.task, info.episode_id, '')
        stamp = self._robot.reset(assignment)
        if assignment.new_scene and info.simulated:
            self._scene_seed = assignment.seed
        info = replace(info, scene_seed=self._scene_seed, stamp=stamp)
        self._robot.start_recording(info)
        self._announce(State.RUNNING, info.task, info.episode_id, '')
        started = time.monotonic()
        run = self._run(info, drawn.exploration)
        seconds = time.monotonic() - started
        info = replace(
            info,
            policy=run.policy or drawn.policy,
            model_version=run.model_version,
            steps=run.steps,
            termination=run.termination,
            message=run.message,
            stamp=run.final_stamp or stamp,
        )
        recorded = self._robot.finish_recording(info)
        try:
            if run.fault is not None:
                raise CollectionError(run.fault, run.message, passing=run.passing)
            if recorded.missing:
                raise CollectionError(Fault.RECORDER_FAILED, recorded.missing)
            self._announce(State.GRADING, info.task, info.episode_id, '')
            outcomes = self._grade(info.episode_id, recorded.path)
        except CollectionError as error:
            error.bag = recorded.path
            raise
        return Collected(info, recorded, run, seconds, tuple(outcomes), self._grade_with)

    def _configuration(self, assignment: Assignment, drawn: Drawn) -> str:
        """Return what the bag keeps: the cell's configuration and, where one chose, the curriculum and its choice."""
        if self._practice is None:
            return self._identity.configuration
        chosen = {
            'rules': self._practice.chooser.curriculum.model_dump(mode='json'),
            'at_parity': assignment.task in self._practice.chooser.at_parity,
            'drawn': {'policy': drawn.policy, 'exploration': drawn.exploration},
        }
        return json.dumps({**json.loads(self._identity.configuration), 'curriculum': chosen})

    def _run(self, info: EpisodeInfo, exploration: float) -> PolicyRun:
        try:
            return self._robot.run_policy(info, exploration)
        except CollectionError as error:
            # The policy's node died or hangs. Its bag is closed all the same.
            return PolicyRun(
                0, Termination.ABORTED, info.policy, message=str(error), fault=error.fault, passing=error.passing
            )

    def _catalogue_one(self, episode: Episode) -> None:
        """Catalogue an episode; with the first one, and the one after a failure, every bag there is."""
        if self._catalogued:
            self._catalogue.add(episode)
        else:
            self._catalogue.refresh()
            self._catalogued = True

    def _grade(self, episode_id: str, path: Path) -> list[Outcome]:
        """Grade an episode by its bag: what was recorded is what counts."""
        try:
            episode = read_episode(path)
            truth = [one for grading in read_outcomes(path) if grading.source == SIMULATOR for one in grading.outcomes]
            if truth:
                self._labels.add(episode_id, SIMULATOR, '', truth)
            self._catalogue_one(episode)
        except BagError as error:
            raise CollectionError(Fault.RECORDER_FAILED, str(error)) from None
        except MtoptError as error:
            raise CollectionError(Fault.GRADING_FAILED, str(error)) from None
        if self._grade_with == DETECTOR:
            return self._robot.grade(episode_id, episode.final.images)
        if self._grade_with == SIMULATOR and not truth:
            raise CollectionError(
                Fault.GRADING_FAILED,
                f'no true outcomes of {episode_id} were recorded; grade_with simulator needs a simulator',
            )
        return truth if self._grade_with == SIMULATOR else []

"""One episode without ROS: the graph's own episode control, step planner and simulated cell, called in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mtopt_bringup.episode_workers import ROBOT
from mtopt_core.configuration import CAMERAS, CellConfiguration
from mtopt_core.description.cloth_table import CLOTH
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Outcome, Step, Verdict
from mtopt_core.step_planner import StepPlanner
from mtopt_core.tasks import TaskSet
from mtopt_policy.episode_control import EpisodeControl
from mtopt_policy.policy import Policy
from mtopt_sim.cell import Cell
from mtopt_sim.errors import DivergedError

HOLDING = ('place', 'cover')
"""Skills whose episodes start with an object in the hand."""


@dataclass(frozen=True)
class SimulatedEpisode:
    """An episode and what is true of its last state.

    Attributes:
        episode: What the robot saw and did.
        truth: Whether each task is solved, by name.
    """

    episode: Episode
    truth: Mapping[str, bool]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The truth as bags and the label store take it."""
        return tuple(Outcome(task, Verdict(int(solved)), float(solved)) for task, solved in self.truth.items())


class Witness(Protocol):
    """Looks on while an episode runs, between what happens."""

    def decided(self, observation: Observation, action: Action) -> None:
        """Take note of a decision that is about to be carried out."""

    def moved(self) -> None:
        """Take note that simulated 4 ms of the motion have passed."""


class SimulatedRobot:
    """A cell, its step planner and the rules of an episode.

    Args:
        cell: The simulated cell.
        configuration: Step limits and recording.
        tasks: The tasks and their skills.
        views: Cameras rendered at every step: those the policies look through.
        final_views: Cameras rendered for the final observation.
    """

    def __init__(
        self,
        cell: Cell,
        configuration: CellConfiguration,
        tasks: TaskSet,
        views: tuple[str, ...],
        final_views: tuple[str, ...] = CAMERAS,
    ) -> None:
        self.cell = cell
        self._planner = StepPlanner(cell.kinematics, configuration)
        self._configuration = configuration
        self._tasks = tasks
        self._views = views
        self._final_views = final_views

    def run(
        self,
        policy: Policy,
        episode_id: str,
        task: str,
        seed: int,
        object_present: bool = False,
        witness: Witness | None = None,
    ) -> SimulatedEpisode:
        """Reset the scene and run one episode; one of the `HOLDING` skills starts with an object in the hand.

        What a scene holds only when it is asked for, the cloth, is there whenever the task is about it.

        Args:
            policy: Who decides.
            episode_id: Of the episode.
            task: Name of the task to attempt.
            seed: Of the scene, the start pose and the policy.
            object_present: Make sure that the object to be lifted is in the scene, as when the paper evaluates.
            witness: Who looks on; what happens does not depend on it.

        Raises:
            ActionError: The policy decided on something that cannot be carried out.
            DivergedError: The physics diverged; it says at which step.
            UnknownTaskError: The task is not in the task set, or the policy does not know it.
        """
        skill, category = self._tasks[task].skill, self._tasks[task].object
        self.cell.reset(
            seed,
            region=self._tasks.skills[skill].start_region,
            holding=skill in HOLDING,
            require=category if object_present or category == CLOTH.name else None,
        )
        control = EpisodeControl(policy, task, seed, self._configuration.step)
        observation = self._observe(self._views)
        steps = []
        while (decided := control.decide(observation)) is not None:
            action = _as_sent(decided)
            steps.append(Step(observation, action))
            if witness is not None:
                witness.decided(observation, action)
            if not action.terminate:
                try:
                    self._carry_out(action, witness)
                except DivergedError as error:
                    error.step = len(steps)
                    raise
                observation = self._observe(self._views)
        info = EpisodeInfo(
            episode_id=episode_id,
            robot=ROBOT,
            task=task,
            skill=skill,
            policy=policy.name,
            model_version=policy.model_version,
            seed=seed,
            scene_seed=seed,
            simulated=True,
            steps=control.steps,
            termination=control.termination,
            configuration=self._configuration.model_dump_json(),
            stamp=time.time_ns(),
        )
        return SimulatedEpisode(
            Episode(info, tuple(steps), self._completed(observation)), self.cell.outcomes(self._tasks)
        )

    def _carry_out(self, action: Action, witness: Witness | None) -> None:
        planned = self._planner.plan(self.cell.joint_positions, action, self.cell.gripper_closed)
        for _ in self.cell.motion(planned.arm, planned.gripper):
            if witness is not None:
                witness.moved()

    def _observe(self, cameras: tuple[str, ...]) -> Observation:
        observation = self.cell.observation(self._configuration.recording.jpeg_quality, cameras)
        return replace(
            observation,
            yaw=_single(observation.yaw),
            gripper_width=_single(observation.gripper_width),
            height_to_bottom=_single(observation.height_to_bottom),
        )

    def _completed(self, observation: Observation) -> Observation:
        """Return the last observation with the views that only the success detector looks through."""
        unseen = tuple(camera for camera in self._final_views if camera not in observation.images)
        return replace(observation, images={**observation.images, **self._observe(unseen).images})


def _as_sent(action: Action) -> Action:
    """Return the action in the precision of its message: what is recorded is what was carried out, as in the graph."""
    displacement = np.asarray(action.displacement, np.float32).astype(np.float64)
    return replace(action, displacement=displacement, yaw_change=_single(action.yaw_change))


def _single(number: float) -> float:
    return float(np.float32(number))

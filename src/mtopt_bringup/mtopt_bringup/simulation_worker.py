"""What one worker process of bulk simulation holds: a renderer, a robot, its policies."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from mtopt_bringup.diverged_episodes import note_diverged
from mtopt_bringup.episode_workers import Job, Result, Workplace
from mtopt_bringup.film import Film, filming
from mtopt_bringup.film_moment import Titles
from mtopt_bringup.object_aim import ObjectAim
from mtopt_bringup.simulation_episode import SimulatedEpisode, SimulatedRobot
from mtopt_core.configuration import CAMERAS, MAIN, WRIST
from mtopt_core.description.cloth_table import table_for
from mtopt_core.episode import Termination
from mtopt_core.episode_bag import write_episode
from mtopt_core.paths import DataFolder
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.policies import LEARNED, choose_policy
from mtopt_policy.policy import Policy
from mtopt_policy.q_policy import QFunctionPolicy
from mtopt_policy.scripted import ScriptedPolicy
from mtopt_sim.errors import DivergedError
from mtopt_sim.simulators import new_cell

ATTEMPTS = 4
"""At an episode whose physics diverge; in Gazebo a few in a hundred of a learned policy's do, never the same ones."""

SCRIPTED_SHARE = 0.5
"""Probability of the scripted policy in a mixture."""

SCRIPTED_VIEWS = {MAIN, WRIST}
"""Cameras recorded at every step though the scripted policy sees nothing: those a policy will learn from."""


class Worker:
    """Runs jobs one after the other; an episode whose physics diverge at every try costs that episode alone.

    Args:
        workplace: What it needs.

    Raises:
        CheckpointError: A policy's checkpoint is damaged or does not fit the tasks.
    """

    def __init__(self, workplace: Workplace) -> None:
        torch.set_num_threads(1)  # the cores belong to the other workers
        tasks, configuration = workplace.tasks, workplace.configuration
        self._workplace = workplace
        self._learned = {
            name: QFunctionPolicy.load(path, tasks, exploration=workplace.exploration)
            for name, path in workplace.checkpoints.items()
        }
        spaces = [policy.manifest.action_space for policy in self._learned.values()]
        space = spaces[0] if spaces else getattr(ActionSpace, workplace.setting)(configuration.step)
        wanted = SCRIPTED_VIEWS.union(*(policy.views for policy in self._learned.values()))
        # Without images nobody looks; Gazebo need not render then.
        shown = CAMERAS if workplace.image_size else ()
        cell = new_cell(
            workplace.simulator,
            workplace.image_size or 1,
            shown,
            workplace.objects,
            table_for(tasks),
            workplace.looks,
        )
        aim = None if workplace.aim is None else ObjectAim(cell, tasks, workplace.aim)
        self._scripted = ScriptedPolicy(tasks, space, aim=aim)
        views = tuple(camera for camera in CAMERAS if camera in wanted)
        self._robot = SimulatedRobot(
            cell, configuration, tasks, *((views, CAMERAS) if workplace.image_size else ((), ()))
        )

    def run(self, job: Job) -> Result:
        """Simulate one episode; write its bag if bags are wanted, and its video if it is filmed.

        Raises:
            ActionError: The policy decided on something that cannot be carried out.
            BagError: The bag cannot be written.
            VideoError: The video cannot be written.
            OSError: An episode whose physics diverged at every try cannot be noted beside the bags.
        """
        policy = self._policy(job.policy)
        try:
            simulated = self._simulate(job, policy)
        except DivergedError as error:
            return self._give_up(job, policy, error.step)
        if self._workplace.bags is not None:
            write_episode(self._workplace.bags, simulated.episode, self._workplace.configuration, simulated.outcomes)
        info = simulated.episode.info
        return Result(job, info.policy, info.model_version, simulated.outcomes, info.steps, info.termination)

    def _simulate(self, job: Job, policy: Policy) -> SimulatedEpisode:
        """Run the episode and film it if it is to be filmed; where the physics diverge, start again."""
        diverged = 0
        while True:
            try:
                with self._filming(job, policy) as film:
                    simulated = self._robot.run(policy, job.episode_id, job.task, job.seed, job.object_present, film)
                    if film is not None:
                        film.ended(simulated.truth[job.task])
                    return simulated
            except DivergedError:
                diverged += 1
                if diverged == ATTEMPTS:
                    raise

    def _give_up(self, job: Job, policy: Policy, step: int) -> Result:
        """Return what is to be said of an episode whose physics diverge at every try, and note it beside the bags."""
        problem = (
            f'episode {job.number} ({job.task}, seed {job.seed}) was not carried out: the physics of '
            f'{self._workplace.simulator} diverged in each of {ATTEMPTS} tries, in the last at step {step}'
        )
        if self._workplace.bags is not None:
            note_diverged(DataFolder(self._workplace.bags.parent), job.episode_id, problem)
        return Result(job, policy.name, policy.model_version, (), 0, Termination.ABORTED, problem)

    def _filming(self, job: Job, policy: Policy) -> AbstractContextManager[Film | None]:
        wanted = self._workplace.filming
        if wanted is None or job.number not in wanted.numbers:
            return nullcontext()
        titles = Titles(
            job.task,
            f'{job.policy} {policy.model_version}'.strip(),
            f'episode {job.number}, seed {job.seed}',
            self._workplace.configuration.step.max_steps,
        )
        name = f'{job.task}_{job.number:04}_{job.policy}'
        return filming(wanted.folder, name, self._robot.cell, titles, policy)

    def _policy(self, name: str) -> Policy:
        if name in self._learned:
            return self._learned[name]
        return choose_policy(name, self._scripted, self._learned.get(LEARNED), SCRIPTED_SHARE)

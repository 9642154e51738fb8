"""The whole learner learns: simulated cell to bags to Q-function to better grasps. Sized to about three minutes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from mtopt_bringup.episode_workers import Job, Result, Workplace, run_jobs
from mtopt_core.checkpoint import newest_checkpoint
from mtopt_core.configuration import load_cell
from mtopt_core.episode_bag import read_episode
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.statistics import area_under_curve, paired_test
from mtopt_core.tasks import TaskSet
from mtopt_policy.action_space import decisions
from mtopt_policy.learner.impersonation import Impersonation
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.q_policy import QFunctionPolicy

TASKS = TaskSet.model_validate(
    {'skills': {'lift': {'start_region': 'right_bin'}}, 'tasks': [{'name': 'lift-any', 'skill': 'lift'}]}
)
OBJECTS = ('ball',)
TRAINING_EPISODES, GRASPS, SEEDS, STEPS = 1200, 500, 200, 500
# A busy machine may take several times the three minutes.
pytestmark = pytest.mark.timeout(1800)

AIM = 0.01  # m, so that a fair share of the scripted grasps succeeds


def simulate(workplace: Workplace, first: int, number: int, policy: str = 'scripted') -> list[Result]:
    jobs = [Job(i, f'{policy}-{i:06}', 'lift-any', i, policy) for i in range(first, first + number)]
    return sorted(run_jobs(workplace, jobs, 2), key=lambda result: result.job.number)


class Observer:
    def stepped(self, *_: object) -> None:
        pass

    exported = stepped


@pytest.fixture(scope='module')
def learned(tmp_path_factory):
    """Bags of scripted episodes with their true outcomes, and a policy learned from the first of them."""
    folder = tmp_path_factory.mktemp('learning')
    data = DataFolder(folder / 'data')
    data.bags.mkdir(parents=True)
    workplace = Workplace(load_cell(), TASKS, aim=AIM, bags=data.bags, objects=OBJECTS)
    results = simulate(workplace, 0, TRAINING_EPISODES)
    store = LabelStore(data)
    store.add_many(SIMULATOR, '', {result.job.episode_id: result.outcomes for result in results})
    store.close()
    training = Training(
        TrainingOptions(
            data=data,
            out=folder / 'models',
            tasks=TASKS,
            cell=load_cell(),
            impersonation=Impersonation.SKILL,
            sources=(SIMULATOR,),
        )
    )
    training.read()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # whatever else was imported before
    try:
        training.run(STEPS, threading.Event(), Observer())
    finally:
        torch.set_num_threads(threads)
    checkpoint = newest_checkpoint(folder / 'models' / 'policy')
    assert checkpoint is not None
    return folder, checkpoint


def test_q_separates_grasps_that_will_succeed_from_those_that_fail(learned):
    folder, checkpoint = learned
    held_out = folder / 'held_out'
    held_out.mkdir()
    workplace = Workplace(load_cell(), TASKS, aim=AIM, bags=held_out, objects=OBJECTS)
    results = simulate(workplace, 100_000, GRASPS)
    policy = QFunctionPolicy.load(checkpoint, TASKS)
    q = []
    for result in results:
        episode = read_episode(held_out / result.job.episode_id)
        last = episode.steps[decisions(episode, policy.manifest.action_space)[-1]]
        q.append(policy.q_value(last.observation, last.action, 'lift-any'))
    area = area_under_curve(np.array(q), np.array([result.solved for result in results]))
    print(f'AUC {area:.3f} on {len(q)} held-out grasps, {sum(r.solved for r in results)} of them good')
    assert area > 0.85


def test_the_learned_policy_beats_the_scripted_one_on_the_same_seeds(learned):
    _, checkpoint = learned
    workplace = Workplace(load_cell(), TASKS, checkpoints={'learned': checkpoint}, objects=OBJECTS)
    scripted, policy = (
        [result.solved for result in simulate(workplace, 200_000, SEEDS, name)] for name in ('scripted', 'learned')
    )
    print(f'{SEEDS} seeds: scripted {np.mean(scripted):.0%}, learned {np.mean(policy):.0%}')
    test = paired_test(policy, scripted)
    assert test.only_first > test.only_second
    assert test.p_value < 0.01

"""Bulk simulation writes the bags the robots write, the same ones for the same seed, and goes on where it stopped."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtopt_bringup.diverged_episodes import diverged_episodes, note_diverged
from mtopt_bringup.episode_workers import ROBOT, Job, Workplace
from mtopt_bringup.object_aim import ObjectAim
from mtopt_bringup.simulate import Series, simulate
from mtopt_bringup.simulation_episode import SimulatedRobot
from mtopt_bringup.simulation_worker import ATTEMPTS, Worker
from mtopt_bringup.task_mixture import TaskMixture
from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CAMERAS, MAIN, WRIST, load_cell
from mtopt_core.description.cloth_table import table_for
from mtopt_core.episode import Source, Termination, Verdict
from mtopt_core.episode_bag import episode_ids, read_episode, read_outcomes
from mtopt_core.errors import ConfigurationError
from mtopt_core.images import decode_jpeg
from mtopt_core.label_store import DEFAULT_SOURCES, SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.scripted import ScriptedNoise, ScriptedPolicy
from mtopt_sim.cell import Cell

EPISODES = 6
SIZE = 32


def run(out, episodes, **options):
    simulate(out, episodes, workers=1, tasks='lift-any,place-any', image_size=SIZE, **options)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('simulated')
    run(folder, EPISODES)
    return DataFolder(folder)


def test_every_bag_is_an_episode_the_catalogue_takes(data):
    catalogue = Catalogue(data)
    assert catalogue.refresh().added == EPISODES
    for row in catalogue.episodes():
        episode = read_episode(row.path)
        assert episode.info.simulated
        assert episode.info.termination not in (Termination.NONE, Termination.ABORTED)
        assert episode.info.steps == len(episode.steps)
        ended = episode.info.termination is Termination.SCRIPTED_ENDING
        assert (episode.steps[-1].action.source is Source.ENDING) == ended
        assert load_tasks()[episode.info.task].skill == episode.info.skill


def test_steps_show_what_policies_look_through_and_the_end_shows_every_view(data):
    for name in episode_ids(data.bags):
        episode = read_episode(data.bags / name)
        assert all(step.observation.images.keys() == {MAIN, WRIST} for step in episode.steps)
        assert episode.final.images.keys() == set(CAMERAS)
        assert decode_jpeg(episode.final.images[MAIN]).shape == (SIZE, SIZE, 3)
        stamps = [step.observation.stamp for step in episode.steps]
        assert np.all(np.diff([*stamps, episode.final.stamp]) == load_cell().step.duration * 1e9)


def test_the_truth_is_in_bag_and_label_store_and_counts_only_when_asked_for(data):
    store = LabelStore(data)
    for name in episode_ids(data.bags):
        (recorded,) = read_outcomes(data.bags / name)
        assert store.outcomes(name, [SIMULATOR]) == {outcome.task: outcome for outcome in recorded.outcomes}
        assert len(recorded.outcomes) == len(load_tasks())
        assert not store.outcomes(name, DEFAULT_SOURCES)
    store.close()


def test_a_place_episode_starts_with_an_object_in_the_hand(data):
    first = {name: read_episode(data.bags / name) for name in episode_ids(data.bags)}
    by_skill = {episode.info.skill: episode.steps[0].observation for episode in first.values()}
    assert by_skill['place'].gripper_closed
    assert by_skill['place'].tip_position[1] > 0 > by_skill['lift'].tip_position[1]
    assert not by_skill['lift'].gripper_closed


def test_the_same_seed_gives_the_same_episodes_and_another_gives_others(data, tmp_path):
    run(tmp_path, EPISODES)
    again = [read_episode(tmp_path / 'bags' / name) for name in episode_ids(tmp_path / 'bags')]
    before = [read_episode(data.bags / name) for name in episode_ids(data.bags)]
    key = sorted(before, key=lambda episode: episode.info.episode_id[-6:])
    assert [episode.final.images for episode in again] == [episode.final.images for episode in key]
    run(tmp_path / 'other', 1, seed=1)
    (other,) = [read_episode(path) for path in (tmp_path / 'other' / 'bags').iterdir()]
    assert other.final.images != key[0].final.images


def test_a_series_goes_on_and_gets_the_outcomes_a_crash_has_kept_from_the_store(data, tmp_path):
    run(tmp_path, 2)
    folder = DataFolder(tmp_path)
    first = episode_ids(folder.bags)
    folder.labels.unlink()
    run(tmp_path, 3)
    assert [name[-6:] for name in episode_ids(folder.bags)] == ['000000', '000001', '000002']
    assert episode_ids(folder.bags)[:2] == first
    store = LabelStore(folder)
    assert store.all_outcomes([SIMULATOR]).keys() == set(episode_ids(folder.bags))
    store.close()


def test_a_series_does_not_try_an_episode_again_whose_physics_diverged_at_every_try(tmp_path):
    note_diverged(DataFolder(tmp_path), f'20261128T000000_{ROBOT}_scripted-0-000001', 'it diverged')
    run(tmp_path, 3)
    assert [name[-6:] for name in episode_ids(DataFolder(tmp_path).bags)] == ['000000', '000002']


def test_two_processes_do_not_write_the_same_series_to_one_folder(tmp_path):
    with Series('scripted', 0, TaskMixture.parse('lift-any', load_tasks())).locked(tmp_path):
        with pytest.raises(ConfigurationError, match='another `mtopt simulate` writes the scripted series of seed 0'):
            run(tmp_path, 1)
        run(tmp_path, 1, seed=1)
    assert len(episode_ids(DataFolder(tmp_path).bags)) == 1


def test_a_series_does_not_go_on_with_other_settings(tmp_path):
    run(tmp_path, 1, aim=0.01)
    with pytest.raises(ConfigurationError, match=r'scripted series of seed 0 was begun with --aim 0\.01'):
        run(tmp_path, 2, aim=0.02)
    with pytest.raises(ConfigurationError, match=r'was begun without --checkpoint|with --aim 0\.01'):
        run(tmp_path, 2)
    run(tmp_path, 1, aim=0.02)  # there is nothing left to do
    run(tmp_path, 2, aim=0.01)
    run(tmp_path, 1, aim=0.02, seed=1)
    assert len(episode_ids(DataFolder(tmp_path).bags)) == 3


def test_a_scene_holds_the_object_to_be_lifted_where_that_is_asked_for():
    worker = Worker(Workplace(load_cell(), load_tasks(), image_size=0))
    for seed in range(5):
        worker.run(Job(seed, f'episode{seed}', 'lift-sausage', seed, 'scripted', object_present=True))
        assert 'sausage' in worker._robot.cell.object_positions()


@pytest.mark.parametrize('often', [1, 9])
def test_an_episode_whose_physics_diverge_is_tried_again_but_not_for_ever(often, tmp_path):
    data = DataFolder(tmp_path)
    worker = Worker(Workplace(load_cell(), load_tasks(), image_size=0, bags=data.bags))
    wanted = worker.run(Job(0, 'one', 'lift-any', 5, 'scripted', object_present=True))
    job = replace(wanted.job, episode_id='two')
    reset, plant, resets = worker._robot.cell.reset, worker._robot.cell._plant, []

    def reset_and_throw(*arguments, **options):
        reset(*arguments, **options)
        resets.append(arguments)
        if len(resets) <= often:
            plant.data.qvel[:] = 1e20

    worker._robot.cell.reset = reset_and_throw
    if often == 1:
        assert worker.run(job) == replace(wanted, job=job)
        assert len(resets) == 2
        assert not diverged_episodes(data)
    else:
        given_up = worker.run(job)
        assert given_up.problem.startswith('episode 0 (lift-any, seed 5) was not carried out: the physics of mujoco')
        assert given_up.problem.endswith('in the last at step 1')
        assert not given_up.solved
        assert len(resets) == ATTEMPTS
        assert diverged_episodes(data) == {'two'}
        assert episode_ids(data.bags) == ['one']


def test_an_aim_makes_a_better_teacher():
    def successes(aim):
        worker = Worker(Workplace(load_cell(), load_tasks(), image_size=0, aim=aim))
        jobs = [Job(seed, f'episode{seed}', 'lift-any', seed, 'scripted') for seed in range(50)]
        return sum(worker.run(job).solved for job in jobs)

    assert successes(0.0) > successes(None) + 5


@pytest.mark.parametrize('task', ['lift-cloth', 'cover-object'])
def test_a_script_that_always_aims_exactly_solves_what_the_cloth_is_for_more_often_than_not(task):
    tasks, configuration = load_tasks('tasks_with_cloth.yaml'), load_cell()
    cell = Cell(image_size=1, table=table_for(tasks))
    robot = SimulatedRobot(cell, configuration, tasks, (), ())
    space = ActionSpace.eased(configuration.step)

    def rate(policy):
        return np.mean([robot.run(policy, f'e{seed}', task, seed).truth[task] for seed in range(1000, 1060)])

    noise = ScriptedNoise(distraction=0, rise=0, early=0, aimless=0, random=0)
    exact = rate(ScriptedPolicy(tasks, space, noise, ObjectAim(cell, tasks, 0.0)))
    crude = rate(ScriptedPolicy(tasks, space))
    print(f'{task}: exact aim {exact:.0%}, no aim {crude:.0%}')
    assert exact > 0.6
    assert crude < 0.3


@contextmanager
def endless_simulation(out):
    """Start `mtopt simulate` in a process group of its own and wait for its first episodes."""
    command = [sys.executable, '-m', 'mtopt_core.cli', 'simulate', '--out', str(out), '--episodes', '100000']
    process = subprocess.Popen([*command, '--workers', '1', '--image-size', '32'], start_new_session=True)
    deadline = time.monotonic() + 300
    try:
        while len(episode_ids(DataFolder(out).bags)) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_whole_bags_and_their_outcomes(tmp_path, number):
    with endless_simulation(tmp_path) as process:
        # Ctrl-C reaches every process of the terminal, a service manager only tells the first.
        os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
        assert process.wait(timeout=30) == 0
    data = DataFolder(tmp_path)
    assert not [path for path in Path(data.bags).iterdir() if path.name.startswith('.')]
    store = LabelStore(data)
    assert store.all_outcomes([SIMULATOR]).keys() == set(episode_ids(data.bags))
    assert all(
        outcome.verdict is not Verdict.UNSURE
        for one in store.all_outcomes([SIMULATOR]).values()
        for outcome in one.values()
    )
    store.close()


def test_workers_do_not_outlive_a_killed_simulation(tmp_path):
    with endless_simulation(tmp_path) as process:
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        workers = [child for child in children if b'spawn_main' in Path(f'/proc/{child}/cmdline').read_bytes()]
        assert workers
        process.kill()
        deadline = time.monotonic() + 10
        while any(Path(f'/proc/{worker}').exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)

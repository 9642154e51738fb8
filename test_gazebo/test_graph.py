"""The whole graph over real DDS with Gazebo in the robot's place: nothing above the simulator knows."""

from __future__ import annotations

import os
import signal
from itertools import pairwise

import pytest
from own_servers import servers
from running_cell import RunningCell, wait_until

from mtopt_bringup.graph import Simulator
from mtopt_core.configuration import CAMERAS
from mtopt_core.episode import Termination
from mtopt_core.episode_bag import read_episode, read_outcomes
from mtopt_msgs.action import CollectEpisode

Result = CollectEpisode.Result


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    with RunningCell(tmp_path_factory.mktemp('data'), simulator=Simulator.GAZEBO) as cell:
        yield cell


@pytest.mark.parametrize(('task', 'seed'), [('lift-any', 11), ('place-any', 12)])
def test_an_episode_of_each_skill_goes_from_goal_to_bag(cell, task, seed):
    result = cell.collect(task=task, policy='scripted', seed=seed)
    assert result.error_code == Result.NONE, result.error_msg
    episode = read_episode(cell.data.bags / result.episode_id)
    assert (episode.info.task, episode.info.simulated) == (task, True)
    assert episode.info.termination is not Termination.ABORTED
    assert len(episode.steps) >= 3
    observations = [step.observation for step in episode.steps] + [episode.final]
    assert all(set(one.images) == set(CAMERAS) for one in observations)
    stamps = [one.stamp for one in observations]
    assert all(later - earlier == 500_000_000 for earlier, later in pairwise(stamps))
    assert len({image for one in observations for image in one.images.values()}) > 2 * len(observations)
    (truth,) = read_outcomes(cell.data.bags / result.episode_id)
    assert task in {one.task for one in truth.outcomes}


def test_an_episode_whose_server_is_killed_fails_and_the_graph_goes_on(cell):
    cell.actions.clear()
    handle = cell.start(task='lift-any', policy='scripted', seed=13)
    wait_until(lambda: len(cell.actions) >= 2)
    episode_id = cell.actions[-1].episode_id
    for pid in servers():
        os.kill(pid, signal.SIGKILL)
    assert cell.result(handle).error_code == Result.POLICY_FAILED
    assert read_episode(cell.data.bags / episode_id).info.termination is Termination.ABORTED
    results = [cell.collect(task='lift-any', policy='scripted') for _ in range(2)]
    assert results[-1].error_code == Result.NONE, results[-1].error_msg

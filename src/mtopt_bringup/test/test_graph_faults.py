"""The whole graph over real DDS when something is wrong: what is asked for, or a node that dies."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from running_cell import RunningCell, wait_until

from mtopt_core.bag import partial_bags
from mtopt_core.episode import Termination
from mtopt_core.episode_bag import episode_ids, read_episode
from mtopt_core.tasks import load_tasks
from mtopt_msgs.action import CollectEpisode
from mtopt_msgs.msg import CollectorStatus

Result = CollectEpisode.Result


@pytest.fixture(scope='module')
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCell]:
    with RunningCell(tmp_path_factory.mktemp('data')) as cell:
        yield cell


def test_an_unknown_task_is_refused_by_name(cell):
    result = cell.collect(task='lift-anvil', policy='scripted')
    assert result.error_code == Result.UNKNOWN
    assert 'lift-anvil' in result.error_msg


def test_a_learned_episode_without_a_checkpoint_is_aborted_with_the_way_out(cell):
    result = cell.collect(task='lift-any', policy='learned')
    assert result.error_code == Result.POLICY_FAILED
    assert 'checkpoint' in result.error_msg
    newest = read_episode(cell.data.bags / episode_ids(cell.data.bags)[-1])
    assert newest.info.termination is Termination.ABORTED
    assert 'checkpoint' in newest.info.message


def test_a_cancelled_goal_ends_the_episode_and_the_next_one_runs(cell):
    handle = start_an_episode(cell)
    with cell.frozen():
        cell.wait(handle.cancel_goal_async())
        assert cell.result(handle).error_code == Result.CANCELED
    assert read_episode(cell.data.bags / cell.actions[0].episode_id).info.termination is Termination.ABORTED
    assert cell.collect(policy='scripted').task in load_tasks().names
    assert_recovers(cell)


def test_a_second_goal_waits_for_the_first_and_a_third_is_told_that_it_is_busy(cell):
    first = start_an_episode(cell)
    with cell.frozen():
        second, third = (cell.start(task='lift-any', policy='scripted') for _ in range(2))
        assert cell.result(third).error_code == Result.BUSY
    assert [cell.result(handle).error_code for handle in (first, second)] == [Result.NONE, Result.NONE]


def test_an_episode_whose_recorder_is_killed_fails_and_the_next_recorder_clears_up(cell):
    handle = start_an_episode(cell)
    (partial,) = partial_bags(cell.data.bags)
    cell.process('recorder').send_signal(signal.SIGKILL)
    assert cell.result(handle).error_code == Result.RECORDER_FAILED
    cell.restart('recorder')
    wait_until(lambda: not partial.exists())
    assert_recovers(cell)


def test_an_episode_whose_policy_node_ends_is_closed_as_aborted_and_the_next_one_runs(cell):
    handle = start_an_episode(cell)
    episode_id = cell.actions[-1].episode_id
    cell.process('policy').terminate()
    assert cell.result(handle).error_code == Result.POLICY_FAILED
    assert read_episode(cell.data.bags / episode_id).info.termination is Termination.ABORTED
    cell.restart('policy')
    assert_recovers(cell)


def test_what_a_killed_collector_has_begun_is_given_up_by_the_one_that_takes_its_place(cell):
    start_an_episode(cell)
    episode_id = cell.actions[-1].episode_id
    with cell.frozen():  # else the episode would have come to its end meanwhile
        collector = cell.process('collector')
        collector.kill()
        collector.wait()
        cell.statuses.clear()
        cell.restart('collector')
        wait_until(lambda: cell.statuses)
        time.sleep(1.0)
    acted = len(cell.actions)
    time.sleep(1.0)
    assert len(cell.actions) == acted
    assert_recovers(cell)
    assert read_episode(cell.data.bags / episode_id).info.termination is Termination.ABORTED


def test_an_endless_collection_pauses_between_episodes_and_goes_on(tmp_path):
    with RunningCell(tmp_path, episodes=-1) as cell:
        wait_until(lambda: cell.statuses and cell.statuses[-1].episodes >= 2)
        cell.ask('pause')
        wait_until(lambda: cell.statuses[-1].state == CollectorStatus.STATE_PAUSED)
        collected = cell.statuses[-1].episodes
        time.sleep(1.0)
        assert cell.statuses[-1].episodes == collected == len(episode_ids(cell.data.bags))
        cell.ask('resume')
        wait_until(lambda: cell.statuses[-1].episodes > collected)
    # Stopped in the middle of whatever ran: every bag that is there can be read.
    assert not partial_bags(cell.data.bags)
    episodes = [read_episode(cell.data.bags / episode_id) for episode_id in episode_ids(cell.data.bags)]
    assert sum(episode.info.termination is Termination.ABORTED for episode in episodes) <= 1


def start_an_episode(cell: RunningCell) -> Any:
    """Return the handle of an episode that the policy has begun to act in; `actions` are those of this one alone."""
    cell.actions.clear()
    handle = cell.start(task='lift-any', policy='scripted')
    wait_until(lambda: cell.actions)
    return handle


def assert_recovers(cell: RunningCell) -> None:
    """See that an episode succeeds again; the first one may still find the dead node's traces in DDS."""
    results = [cell.collect(task='lift-any', policy='scripted') for _ in range(2)]
    assert results[-1].error_code == Result.NONE, results[-1].error_msg

"""The real graph over real DDS, every node a process: from a goal to a bag, the same one as without ROS."""

import os
import time

import numpy as np
import pytest
import rclpy

from mtopt_bringup.graph import GraphOptions, Simulator, graph
from mtopt_bringup.launcher import Launcher
from mtopt_bringup.simulation_episode import SimulatedRobot
from mtopt_core.configuration import CAMERAS, load_cell
from mtopt_core.environment import free_domain
from mtopt_core.episode_bag import read_episode, read_outcomes
from mtopt_core.images import decode_jpeg
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_msgs.action import CollectEpisode
from mtopt_node.calls import ThreadedActionClient, found
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.scripted import ScriptedPolicy
from mtopt_sim.cell import Cell

START_TIMEOUT, EPISODE_TIMEOUT = 60.0, 60.0
SIZE = 48


class Cellmate:
    """A client of the collector, outside of all its processes."""

    def __init__(self, launcher, domain):
        self.launcher = launcher
        rclpy.init(domain_id=domain)
        self.node = rclpy.create_node('cellmate')
        self.client = ThreadedActionClient(self.node, CollectEpisode, '/robot1/collector/collect')

    def collect(self, task, seed):
        assert found(self.client.wait_for_server, START_TIMEOUT), [node.log.read_text() for node in self.launcher.nodes]
        handle = self._wait(self.client.send_goal_async(CollectEpisode.Goal(task=task, policy='scripted', seed=seed)))
        assert handle.accepted
        result = self._wait(handle.get_result_async()).result
        assert result.error_code == CollectEpisode.Result.NONE, result.error_msg
        self.launcher.check()
        return result

    def _wait(self, future):
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=EPISODE_TIMEOUT)
        assert future.done(), [node.log.read_text() for node in self.launcher.nodes]
        return future.result()

    def close(self):
        self.node.destroy_node()
        rclpy.shutdown()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return DataFolder(tmp_path_factory.mktemp('graph'))


@pytest.fixture(scope='module')
def cellmate(data):
    domain = free_domain()
    options = GraphOptions(
        simulator=Simulator.MUJOCO, data=data.root, episodes=0, grade_with='simulator', image_size=SIZE
    )
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain)}
    with Launcher(graph(options), data.root / 'log', environment) as launcher:
        mate = Cellmate(launcher, domain)
        yield mate
        mate.close()
        killed = launcher.stop()
        assert killed == (), [node.log.read_text() for node in launcher.nodes if node.spec.full_name in killed]
        assert {node.process.returncode for node in launcher.nodes} == {0}


@pytest.fixture(scope='module')
def without_ros():
    tasks, configuration = load_tasks(), load_cell()
    policy = ScriptedPolicy(tasks, ActionSpace.eased(configuration.step))
    robot = SimulatedRobot(Cell(image_size=SIZE), configuration, tasks, views=CAMERAS)
    return lambda task, seed: robot.run(policy, 'episode', task, seed)


def assert_same(mine, theirs):
    for name in ('yaw', 'gripper_closed', 'gripper_width', 'height_to_bottom'):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert np.array_equal(mine.joint_positions, theirs.joint_positions)
    assert np.allclose(mine.tip_position, theirs.tip_position, rtol=0, atol=1e-12)
    assert mine.images.keys() == theirs.images.keys()
    for camera, jpeg in mine.images.items():
        difference = decode_jpeg(jpeg).astype(int) - decode_jpeg(theirs.images[camera])
        assert np.abs(difference).max() == 0, camera


@pytest.mark.parametrize(('task', 'seed'), [('lift-any', 11), ('place-any', 12)])
def test_an_episode_goes_from_goal_to_bag_and_is_the_one_simulated_without_ros(cellmate, data, without_ros, task, seed):
    result = cellmate.collect(task, seed)
    assert result.bag_path == str(data.bags / result.episode_id)
    recorded = read_episode(data.bags / result.episode_id)
    simulated = without_ros(task, seed)

    expected = simulated.episode
    assert recorded.info.task == task
    assert (recorded.info.seed, recorded.info.scene_seed) == (seed, seed)
    for field in ('skill', 'policy', 'simulated', 'steps', 'termination', 'configuration'):
        assert getattr(recorded.info, field) == getattr(expected.info, field), field
    assert len(recorded.steps) == len(expected.steps)
    for mine, theirs in zip(recorded.steps, expected.steps, strict=True):
        assert np.array_equal(mine.action.displacement, theirs.action.displacement)
        assert mine.action.yaw_change == theirs.action.yaw_change
        assert mine.action.close_gripper == theirs.action.close_gripper
        assert mine.action.open_gripper == theirs.action.open_gripper
        assert mine.action.source == theirs.action.source
        assert_same(mine.observation, theirs.observation)
    assert_same(recorded.final, expected.final)

    (truth,) = read_outcomes(data.bags / result.episode_id)
    assert truth.source == SIMULATOR
    assert {one.task: bool(one.probability) for one in truth.outcomes} == dict(simulated.truth)
    store = LabelStore(data)
    assert store.outcomes(result.episode_id, [SIMULATOR]) == {one.task: one for one in truth.outcomes}
    store.close()


def test_the_graph_is_fast_enough_to_practise_all_night(cellmate, data):
    started = time.monotonic()
    results = [cellmate.collect('lift-any', seed) for seed in range(3)]
    assert len({result.episode_id for result in results}) == 3
    assert time.monotonic() - started < EPISODE_TIMEOUT

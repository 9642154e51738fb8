"""The real policy node in a process of its own, over real DDS; this test plays the arm controller and the cameras."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from saved_policy import save_policy
from sensor_msgs.msg import CompressedImage

from mtopt_core.environment import free_domain
from mtopt_core.episode import Observation, Source, Termination
from mtopt_core.images import encode_jpeg
from mtopt_core.messages import stamp_of
from mtopt_core.tasks import load_tasks
from mtopt_msgs import msg
from mtopt_msgs.action import RunPolicy
from mtopt_node.calls import ThreadedActionClient, found
from mtopt_node.conversions import header, observation_to_message, time_of
from mtopt_node.qos import COMMANDS, KEPT_COMMANDS, LATCHED, OBSERVATIONS

TASKS = load_tasks()
SECOND = 1_000_000_000
TIMEOUT = 60.0
JPEG = encode_jpeg(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8), 95)
CAMERAS = ('main', 'wrist')


class PlayedCell:
    """Answers every action with a step and an observation half a second of its own time later."""

    def __init__(self, checkpoints: Path, log: Path) -> None:
        self.domain = free_domain()
        rclpy.init(domain_id=self.domain)
        self.node = rclpy.create_node('tester', namespace='robot1')
        self.stamp, self.tip, self.closed = SECOND, np.array([0.5, -0.17, 0.15]), False
        self.actions: list[msg.Action] = []
        self.versions: list[msg.ModelVersion] = []
        self.health: list[str] = []
        self.answer: Callable[[msg.Action], None] = self.carry_out
        self.listen()
        self.node.create_subscription(msg.ModelVersion, 'policy/model_version', self.versions.append, LATCHED)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._hear, COMMANDS)
        self._steps = self.node.create_publisher(msg.Step, 'step', KEPT_COMMANDS)
        self._observations = self.node.create_publisher(msg.Observation, 'observation', OBSERVATIONS)
        self._images = {
            camera: self.node.create_publisher(CompressedImage, f'cameras/{camera}/compressed', OBSERVATIONS)
            for camera in CAMERAS
        }
        self._client = ThreadedActionClient(self.node, RunPolicy, 'policy/run')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        parameters = {'checkpoints': checkpoints, 'observation_timeout': 3.0}
        self.log = log.open('wb')
        arguments = [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'mtopt_policy.policy_node', '--ros-args', '-r', '__ns:=/robot1', *arguments],
            env={**os.environ, 'ROS_DOMAIN_ID': str(self.domain)},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        try:
            assert found(self._client.wait_for_server, TIMEOUT)
            until(lambda: all(image.get_subscription_count() for image in self._images.values()))
            until(lambda: self._steps.get_subscription_count() and self._observations.get_subscription_count())
        except BaseException:
            self.close()  # else the tests that come would find ROS in use
            raise

    def listen(self) -> None:
        self.listening = self.node.create_subscription(msg.Action, 'action', self._act, COMMANDS)

    def observe(self, cameras: tuple[str, ...] = CAMERAS) -> None:
        for camera in cameras:
            self._images[camera].publish(CompressedImage(header=header(self.stamp), format='jpeg', data=JPEG))
        seen = Observation(self.stamp, {}, np.zeros(7), self.tip, 0.0, self.closed, 0.08, float(self.tip[2]))
        stamps = dict.fromkeys(CAMERAS, self.stamp)
        self._observations.publish(observation_to_message(seen, stamps, [f'joint{n}' for n in range(7)]))

    def reset(self) -> None:
        self.stamp += SECOND
        self.tip, self.closed = np.array([0.5, -0.17, 0.15]), False
        self.observe()
        assert self._observations.wait_for_all_acked(Duration(seconds=5))

    def carry_out(self, action: msg.Action, cameras: tuple[str, ...] = CAMERAS) -> None:
        if action.terminate:
            return
        end = self.stamp + SECOND // 2
        self._steps.publish(
            msg.Step(
                header=header(self.stamp),
                episode_id=action.episode_id,
                step=action.step,
                accepted=True,
                end=time_of(end),
            )
        )
        # What was seen before the step has ended must not be decided on.
        self.stamp += SECOND // 4
        self.observe(cameras)
        self.stamp = end
        self.tip = self.tip + action.displacement
        self.tip[2] = np.clip(self.tip[2], 0.005, 0.4)
        self.closed = (self.closed or action.close_gripper) and not action.open_gripper
        self.observe(cameras)

    def reject(self, action: msg.Action) -> None:
        self._steps.publish(
            msg.Step(episode_id=action.episode_id, step=action.step, accepted=False, reason='out of reach')
        )

    def _hear(self, diagnostics: DiagnosticArray) -> None:
        self.health += [status.message for status in diagnostics.status]

    def _act(self, action: msg.Action) -> None:
        self.actions.append(action)
        self.answer(action)

    def send(
        self, task: str = 'lift-any', policy: str = 'scripted', seed: int = 0, max_steps: int = 0, ready: int = 0
    ) -> Any:
        goal = RunPolicy.Goal(
            episode_id=f'e{seed}', task=task, policy=policy, seed=seed, max_steps=max_steps, ready=time_of(ready)
        )
        return resolved(self._client.send_goal_async(goal))

    def run(self, *arguments: Any, **goal: Any) -> RunPolicy.Result:
        return resolved(self.send(*arguments, **goal).get_result_async()).result

    def close(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(TIMEOUT) == 0
        finally:
            self.process.kill()
            self._executor.shutdown()
            self.node.destroy_node()
            rclpy.try_shutdown()
            self._thread.join(TIMEOUT)
            self.log.close()


def resolved(future: Any) -> Any:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(TIMEOUT), 'no answer in time'
    return future.result()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, 'nothing happened in time'
        time.sleep(0.01)


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('checkpoints')


@pytest.fixture(scope='module')
def node(checkpoints, tmp_path_factory) -> Iterator[PlayedCell]:
    cell = PlayedCell(checkpoints, tmp_path_factory.mktemp('log') / 'policy.log')
    try:
        yield cell
    finally:
        cell.close()


@pytest.fixture
def cell(node) -> PlayedCell:
    node.actions.clear()
    node.answer = node.carry_out
    node.reset()
    return node


def test_without_a_checkpoint_a_learned_episode_is_refused_and_says_why(cell):
    result = cell.run(policy='learned')
    assert result.error_code == RunPolicy.Result.NO_MODEL
    assert 'needs a checkpoint' in result.error_msg


def test_a_scripted_episode_runs_to_the_end_of_its_scripted_ending(cell):
    result = cell.run('lift-any', 'scripted', seed=3)
    assert (result.error_code, result.error_msg) == (RunPolicy.Result.NONE, '')
    assert result.termination == Termination.SCRIPTED_ENDING
    assert (result.policy, result.model_version) == ('scripted', '')
    assert result.steps == len(cell.actions)
    assert math.isnan(result.mean_q)
    assert [action.step for action in cell.actions] == list(range(result.steps))
    assert sum(action.close_gripper for action in cell.actions) == 1
    assert [action.source for action in cell.actions[-2:]] == [Source.ENDING, Source.ENDING]
    # Every action was decided on the observation at the end of the step before, not on one in between.
    stamps = [stamp_of(action.header.stamp) for action in cell.actions]
    assert np.diff(stamps).tolist() == [SECOND // 2] * (len(stamps) - 1)
    assert stamp_of(result.final_stamp) == cell.stamp == stamps[-1] + SECOND // 2


def test_the_observation_an_episode_ended_on_does_not_begin_the_next(cell):
    assert cell.run(seed=4).error_code == RunPolicy.Result.NONE
    result = cell.run(seed=5)
    assert result.error_code == RunPolicy.Result.OBSERVATION_TIMEOUT
    assert 'reset the scene' in result.error_msg


def test_what_was_seen_before_the_cell_was_ready_is_not_decided_on(cell):
    ready = cell.stamp + SECOND
    handle = cell.send(seed=9, ready=ready)
    time.sleep(0.5)
    assert not cell.actions
    cell.reset()
    assert cell.stamp == ready
    assert resolved(handle.get_result_async()).result.error_code == RunPolicy.Result.NONE
    assert stamp_of(cell.actions[0].header.stamp) == ready


def test_a_rejected_action_aborts_the_episode_with_the_reason(cell):
    cell.answer = cell.reject
    result = cell.run(seed=6)
    assert result.error_code == RunPolicy.Result.ACTION_REJECTED
    assert 'out of reach' in result.error_msg
    assert result.termination == Termination.ABORTED


def test_an_unanswered_action_times_out(cell):
    cell.answer = lambda action: None
    result = cell.run(seed=7)
    assert result.error_code == RunPolicy.Result.OBSERVATION_TIMEOUT
    assert 'arm controller' in result.error_msg


def test_the_first_action_waits_for_who_answers_it_not_for_the_recorder(cell):
    recorder = rclpy.create_node('recorder', namespace='robot1')
    recorder.create_subscription(msg.Action, 'action', lambda _: None, KEPT_COMMANDS)
    cell.node.destroy_subscription(cell.listening)
    until(lambda: cell.node.count_subscribers('action') == 1)
    handle = cell.send(seed=10)
    time.sleep(0.5)
    cell.listen()
    assert resolved(handle.get_result_async()).result.error_code == RunPolicy.Result.NONE
    assert cell.actions[0].step == 0
    recorder.destroy_node()


def test_a_cancelled_episode_ends_at_once_and_a_second_one_is_refused_meanwhile(cell):
    cell.answer = lambda action: None
    handle = cell.send(seed=8)
    until(lambda: cell.actions)
    assert cell.run(seed=9).error_code == RunPolicy.Result.BUSY
    start = time.monotonic()
    resolved(handle.cancel_goal_async())
    assert resolved(handle.get_result_async()).result.error_code == RunPolicy.Result.CANCELED
    assert time.monotonic() - start < 2.0


@pytest.mark.parametrize(
    ('task', 'policy', 'code'),
    [('lift-piano', 'scripted', 'UNKNOWN_TASK'), ('lift-any', 'guessing', 'UNKNOWN_POLICY')],
)
def test_unknown_names_are_refused_by_name(cell, task, policy, code):
    result = cell.run(task, policy)
    assert result.error_code == getattr(RunPolicy.Result, code)
    assert {'UNKNOWN_TASK': task, 'UNKNOWN_POLICY': policy}[code] in result.error_msg


def test_checkpoints_are_loaded_as_they_appear_and_misfits_leave_the_old_one(cell, checkpoints):
    path = save_policy(checkpoints, 'v1')
    until(lambda: cell.versions)
    assert cell.versions[0].version == 'v1'
    assert cell.versions[0].path == str(path)
    assert tuple(cell.versions[0].tasks) == TASKS.names
    result = cell.run('lift-can', 'learned', seed=10, max_steps=4)
    assert (result.error_code, result.error_msg) == (RunPolicy.Result.NONE, '')
    assert (result.policy, result.model_version) == ('learned', 'v1')
    assert 0 < result.mean_q < 1
    assert all(0 < action.q_value < 1 for action in cell.actions if action.source == Source.LEARNED)
    assert 0 < result.decision_time < 1

    save_policy(checkpoints, 'v2', TASKS.model_copy(update={'tasks': TASKS.tasks[:2]}))
    until(lambda: any('checkpoint refused, policy v1 stays' in message for message in cell.health))
    cell.reset()
    assert cell.run('lift-can', 'learned', seed=11, max_steps=2).model_version == 'v1'

    save_policy(checkpoints, 'v3')
    until(lambda: len(cell.versions) > 1)
    assert cell.versions[1].version == 'v3'
    cell.reset()
    assert cell.run('place-any', 'learned', seed=13, max_steps=2).model_version == 'v3'


def test_a_missing_view_is_named(cell, checkpoints):
    if not list(checkpoints.iterdir()):
        save_policy(checkpoints, 'v1')
    until(lambda: cell.versions)
    cell.answer = lambda action: cell.carry_out(action, cameras=('main',))
    result = cell.run('lift-can', 'learned', seed=12)
    # A network that closes at once ends the episode in two steps up; the first of them already lacks the view.
    assert result.error_code == RunPolicy.Result.OBSERVATION_TIMEOUT
    assert 'lacks the images of wrist' in result.error_msg

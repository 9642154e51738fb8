from __future__ import annotations

import os
import shutil
import signal
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
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage

from mtopt_core.environment import free_domain
from mtopt_core.images import decode_jpeg, encode_jpeg
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.messages import outcomes_from_message
from mtopt_core.paths import DataFolder
from mtopt_msgs.msg import EpisodeInfo, ModelVersion, TaskOutcomes
from mtopt_msgs.srv import DetectSuccess
from mtopt_node.calls import found
from mtopt_node.qos import COMMANDS, EVENTS, LATCHED

START_TIMEOUT, TIMEOUT = 60.0, 20.0
CODES = DetectSuccess.Response


class Cell:
    """A success detector in a process of its own, and what it says."""

    def __init__(self, folder: Path, robots: tuple[str, ...] = ()) -> None:
        self.data = DataFolder(folder / 'data')
        self.checkpoints = folder / 'checkpoints'
        self.checkpoints.mkdir()
        domain = free_domain()
        parameters = {'checkpoints': str(self.checkpoints), 'data_folder': str(self.data.root)}
        parameters |= {'robots': list(robots)} if robots else {}
        file = folder / 'parameters.yaml'
        file.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
        module = 'mtopt_success_detector.detector_node'
        namespace = f'__ns:=/{"machine" if robots else "robot1"}'
        self._process = subprocess.Popen(
            [sys.executable, '-m', module, '--ros-args', '-r', namespace, '--params-file', str(file)],
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain)},
        )
        rclpy.init(domain_id=domain)
        self._node = rclpy.create_node('tester', namespace='robot1')
        self.outcomes: list[TaskOutcomes] = []
        self.versions: list[ModelVersion] = []
        self._node.create_subscription(TaskOutcomes, 'outcomes', self.outcomes.append, EVENTS)
        self._node.create_subscription(ModelVersion, 'success_detector/model_version', self.versions.append, LATCHED)
        self._said = ''
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._take_diagnostics, COMMANDS)
        self._episodes = self._node.create_publisher(EpisodeInfo, 'episode', EVENTS)
        self._client = self._node.create_client(DetectSuccess, 'success_detector/detect')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        try:
            assert found(self._client.wait_for_service, START_TIMEOUT)
        except BaseException:
            self.close()  # else the tests that come would find ROS in use
            raise

    def detect(self, episode_id: str, jpegs: dict[str, bytes], tasks: tuple[str, ...] = ()) -> DetectSuccess.Response:
        images = [CompressedImage(format='jpeg', data=jpeg) for jpeg in jpegs.values()]
        request = DetectSuccess.Request(episode_id=episode_id, cameras=list(jpegs), images=images, tasks=list(tasks))
        return self.answered([self._client.call_async(request)])[0]

    def ask_both(self, episode_id: str, jpegs: dict[str, bytes]) -> list[DetectSuccess.Response]:
        """Ask in the names of robot1 and robot2 at the same time."""
        other = self._node.create_client(DetectSuccess, '/robot2/success_detector/detect')
        assert found(other.wait_for_service, TIMEOUT)
        images = [CompressedImage(format='jpeg', data=jpeg) for jpeg in jpegs.values()]
        requests = [
            DetectSuccess.Request(episode_id=f'{episode_id}_{robot}', cameras=list(jpegs), images=images)
            for robot in ('robot1', 'robot2')
        ]
        clients = self._client, other
        return self.answered([one.call_async(request) for one, request in zip(clients, requests, strict=True)])

    def answered(self, futures: list[Any]) -> list[DetectSuccess.Response]:
        wait_until(lambda: all(future.done() for future in futures))
        return [future.result() for future in futures]

    def announce(self, episode_id: str, skill: str) -> None:
        self._episodes.publish(EpisodeInfo(episode_id=episode_id, skill=skill))
        time.sleep(0.02)

    def health(self) -> str:
        return self._said

    def _take_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name.endswith('success_detector'):
                self._said = status.message

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            assert self._process.wait(TIMEOUT) == 0
        finally:
            self._process.kill()
            self._executor.shutdown()
            self._node.destroy_node()
            rclpy.try_shutdown()
            self._thread.join(TIMEOUT)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, 'nothing happened in time'
        time.sleep(0.01)


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    cell = Cell(tmp_path)
    yield cell
    cell.close()


def test_a_node_grades_an_episode_and_takes_newer_checkpoints_that_fit(cell, trained, squares):
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    response = cell.detect('before', jpegs)
    assert response.error_code == CODES.NO_MODEL
    assert 'train' in response.error_msg

    shutil.copytree(trained, cell.checkpoints / trained.name)
    response = cell.detect('episode1', jpegs)
    assert (response.error_code, response.error_msg) == (CODES.NONE, '')
    outcomes = outcomes_from_message(response.outcomes)
    assert len(outcomes) == 12
    wait_until(lambda: cell.outcomes and cell.versions)
    assert cell.outcomes == [response.outcomes]
    assert cell.outcomes[0].model_version == cell.versions[0].version == trained.name
    stored = LabelStore(cell.data).outcomes('episode1', [DETECTOR])
    assert stored == {outcome.task: outcome for outcome in outcomes}

    response = cell.detect('', jpegs, squares.JUDGED[:2])
    assert [outcome.task for outcome in response.outcomes.outcomes] == list(squares.JUDGED[:2])

    damaged = cell.checkpoints / 'z_damaged'
    shutil.copytree(trained, damaged)
    (damaged / 'weights.safetensors').write_bytes(b'')
    assert cell.detect('episode2', jpegs).outcomes.model_version == trained.name

    assert cell.detect('episode3', jpegs, ('fold-cloth',)).error_code == CODES.UNKNOWN_TASK
    response = cell.detect('episode3', {**jpegs, 'main': b'not a JPEG'})
    assert response.error_code == CODES.BAD_IMAGE
    assert 'camera main' in response.error_msg
    assert cell.detect('episode3', {}).error_code == CODES.BAD_IMAGE
    wait_until(lambda: len(cell.outcomes) == 2)
    assert set(LabelStore(cell.data).all_outcomes([DETECTOR])) == {'episode1', 'episode2'}


def test_a_node_says_when_images_are_no_longer_what_they_were_and_names_the_task(cell, trained, squares):
    shutil.copytree(trained, cell.checkpoints / trained.name)
    rng = np.random.default_rng(0)
    for number in range(60):
        jpegs, _ = squares.draw('lift', rng)
        dark = {camera: encode_jpeg(255 - decode_jpeg(jpeg), 95) for camera, jpeg in jpegs.items()}
        cell.announce(f'episode{number}', 'lift')
        cell.detect(f'episode{number}', dark)
    wait_until(lambda: 'lift-any' in cell.health())
    assert 'review some episodes' in cell.health()
    assert 'place-any' not in cell.health(), 'no place episode was graded'


def test_a_store_that_fails_is_told_and_the_verdicts_are_still_given(cell, trained, squares):
    shutil.copytree(trained, cell.checkpoints / trained.name)
    jpegs, _ = squares.draw('lift', np.random.default_rng(0))
    for file in cell.data.root.glob('labels.sqlite*'):
        file.write_bytes(b'this is no database' * 1000)
    response = cell.detect('episode1', jpegs)
    assert response.error_code == CODES.STORE_FAILED
    assert 'mtopt labels rebuild' in response.error_msg
    assert len(response.outcomes.outcomes) == 12


def test_one_node_serves_several_robots_each_under_its_own_names(tmp_path, trained, squares):
    cell = Cell(tmp_path, robots=('robot1', 'robot2'))
    try:
        # At once, as checkpoints are saved: the node must not meet half of one.
        shutil.copytree(trained, cell.checkpoints / '.copying').rename(cell.checkpoints / trained.name)
        jpegs, _ = squares.draw('lift', np.random.default_rng(0))
        for number in range(10):
            responses = cell.ask_both(f'e{number}', jpegs)
            assert [(one.error_code, one.error_msg) for one in responses] == [(CODES.NONE, '')] * 2
            first, second = (outcomes_from_message(one.outcomes) for one in responses)
            assert first == second, 'the same images, whoever else asked at the same time'
        wait_until(lambda: len(cell.outcomes) == 10)
        assert {one.episode_id for one in cell.outcomes} == {f'e{number}_robot1' for number in range(10)}
        stored = LabelStore(cell.data).all_outcomes([DETECTOR])
        assert len(stored) == 20, 'those of both robots'
    finally:
        cell.close()

"""`mtopt replay` over real DDS, heard by a node of another process.

When a message was sent is what DDS stamped it with: a busy machine takes it in later. How late the sender itself was it
says at its end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from mtopt_core.bag import BagReader, BagWriter
from mtopt_core.configuration import CAMERAS, load_cell
from mtopt_core.environment import free_domain
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Step
from mtopt_core.episode_bag import write_episode
from mtopt_core.images import encode_jpeg
from mtopt_msgs.msg import EpisodeInfo as EpisodeMessage
from mtopt_msgs.msg import Observation as ObservationMessage
from mtopt_node.qos import EVENTS, OBSERVATIONS

TIMEOUT = 60.0
STEP = 0.4  # s
ARM = '/robot1/joint_trajectory_controller/joint_trajectory'


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A bag of three steps."""
    jpegs = {camera: encode_jpeg(np.full((32, 32, 3), 50 * n, np.uint8), 90) for n, camera in enumerate(CAMERAS)}

    def observe(number: int) -> Observation:
        stamp = 10**9 + round(number * STEP * 1e9)
        return Observation(stamp, jpegs, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1)

    info = EpisodeInfo('20261128T000000_robot1_00000000', 'robot1', 'lift-can', 'lift', 'scripted', stamp=3 * 10**9)
    steps = tuple(Step(observe(number), Action()) for number in range(3))
    return write_episode(tmp_path / 'bags', Episode(info, steps, observe(3)), load_cell())


class Listener:
    """A node that takes in what is replayed; with observations, when they were sent, ns."""

    def __init__(self) -> None:
        self.domain = free_domain()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self.domain)
        self._node = rclpy.create_node('tester', context=self._context)
        self.images: list[CompressedImage] = []
        self.observations: list[tuple[int, ObservationMessage]] = []
        self.episodes: list[EpisodeMessage] = []
        self.commands: list[JointTrajectory | Bool] = []
        take = {
            '/robot1/cameras/main/compressed': (CompressedImage, self.images.append, OBSERVATIONS),
            '/robot1/observation': (ObservationMessage, self._observe, OBSERVATIONS),
            '/robot1/episode': (EpisodeMessage, self.episodes.append, EVENTS),
            '/robot1/emergency_stop': (Bool, self.commands.append, EVENTS),
            ARM: (JointTrajectory, self.commands.append, EVENTS),
        }
        for topic, (kind, callback, quality) in take.items():
            self._node.create_subscription(kind, topic, callback, quality)
        self.joint_states: Publisher | None = None
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def be_a_robot(self) -> None:
        self.joint_states = self._node.create_publisher(JointState, '/robot1/joint_states', EVENTS)

    def _observe(self, message: ObservationMessage, info: dict[str, int]) -> None:
        self.observations.append((info['source_timestamp'], message))

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, '-m', 'mtopt_core.cli', 'replay', *arguments],
            env={**os.environ, 'ROS_DOMAIN_ID': str(self.domain)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def test_an_episode_comes_on_its_topics_in_time_with_nothing_lost_or_changed(bag: Path, listener: Listener) -> None:
    assert_as_far_apart_as(STEP, listener, listener.start(str(bag)))
    assert [episode.phase for episode in listener.episodes] == [EpisodeMessage.PHASE_START, EpisodeMessage.PHASE_END]
    assert len(listener.images) == len(listener.observations) == 4
    with BagReader(bag) as reader:
        recorded = [message.cdr for message in reader.messages(['/robot1/cameras/main/compressed'])]
    assert all(bytes(image.data) in cdr for image, cdr in zip(listener.images, recorded, strict=True))
    assert [message.header.stamp.sec for _, message in listener.observations] == [1, 1, 1, 2]


def test_nothing_that_was_commanded_is_commanded_again(listener: Listener, tmp_path: Path) -> None:
    recorded = BagWriter(tmp_path, 'recorded')
    for topic, message in ((ARM, JointTrajectory()), ('/robot1/emergency_stop', Bool(data=True))):
        recorded.write(
            topic, f'{message.__module__.split(".")[0]}/msg/{type(message).__name__}', serialize_message(message), 1
        )
    recorded.write('/robot1/episode', 'mtopt_msgs/msg/EpisodeInfo', serialize_message(EpisodeMessage()), 2)
    recorded.finish()
    told, _ = listener.start(str(tmp_path / 'recorded')).communicate(timeout=TIMEOUT)
    assert told.startswith('1 messages')
    assert len(listener.episodes) == 1
    assert listener.commands == []


def test_nothing_is_played_beside_a_robot_of_the_same_name(bag: Path, listener: Listener) -> None:
    listener.be_a_robot()
    process = listener.start(str(bag))
    _, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    assert '/tester publishes /robot1/joint_states' in ' '.join(told.split())
    assert listener.observations == []


def test_it_is_as_much_faster_as_it_is_told(bag: Path, listener: Listener) -> None:
    assert_as_far_apart_as(STEP / 4, listener, listener.start(str(bag), '--rate', '4'))


def assert_as_far_apart_as(seconds: float, listener: Listener, playing: subprocess.Popen[str]) -> None:
    """See that the observations were sent so many s apart, but for what the sender says it was late."""
    done, _ = playing.communicate(timeout=TIMEOUT)
    late = re.search(r'([\d.]+) ms at worst', done)
    assert late, done
    deadline = time.monotonic() + TIMEOUT
    while len(listener.observations) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    sent = np.array([at for at, _ in listener.observations]) * 1e-9
    np.testing.assert_allclose(np.diff(sent), seconds, rtol=0, atol=0.01 + float(late[1]) / 1e3)


def test_it_begins_again_until_it_is_interrupted(bag: Path, listener: Listener) -> None:
    process = listener.start(str(bag), str(bag), '--loop', '--rate', '10')
    deadline = time.monotonic() + TIMEOUT
    while len(listener.episodes) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, complaint
    assert len(listener.episodes) >= 10


def test_what_cannot_be_played_is_named_before_anything_is(bag: Path, listener: Listener, tmp_path: Path) -> None:
    def complaint(*arguments: str) -> str:
        process = listener.start(*arguments)
        _, told = process.communicate(timeout=TIMEOUT)
        assert process.returncode != 0
        assert 'Traceback' not in told
        return ' '.join(told.replace('│', ' ').split())  # of the box that long lines are broken in

    broken = tmp_path / 'broken'
    shutil.copytree(bag, broken)
    file = next(broken.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-50])
    assert f'bag {broken} is truncated; `mtopt bags salvage`' in complaint(str(bag), str(broken))
    assert 'holds 0 MCAP files' in complaint(str(tmp_path))
    assert "gone' does" in complaint(str(tmp_path / 'gone'))
    assert 'equal to 0.01' in complaint(str(bag), '--rate', '0')
    foreign = BagWriter(tmp_path, 'foreign')
    foreign.write('/robot1/episode', 'std_msgs/msg/Empty', b'\0\1\0\0\0', 1)
    foreign.finish()
    assert 'is std_msgs/msg/Empty here and mtopt_msgs/msg/EpisodeInfo in a bag before' in complaint(
        str(bag), str(tmp_path / 'foreign')
    )
    assert listener.episodes == []

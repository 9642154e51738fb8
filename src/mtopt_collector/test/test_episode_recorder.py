from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtopt_collector.episode_recorder import EpisodeRecorder, recorded_topics
from mtopt_collector.recording import EpisodeWriter, RawMessage
from mtopt_core.bag import BagReader, BagWriter
from mtopt_core.configuration import RecordingConfiguration
from mtopt_core.episode import Action, EpisodeInfo, Observation, Termination
from mtopt_core.episode_bag import TOPICS, camera_topic
from mtopt_core.message_types import EPISODE_INFO, JOINT_STATE, deserialize, serialize
from mtopt_core.messages import (
    PHASE_END,
    PHASE_START,
    action_to_message,
    image_to_message,
    observation_to_message,
)

SECOND = 1_000_000_000
CAMERAS = ('main', 'wrist')
INFO = EpisodeInfo('episode1', 'robot1', 'lift-any', 'lift', 'scripted', stamp=SECOND)


@pytest.fixture
def recorder(tmp_path: Path) -> EpisodeRecorder:
    return EpisodeRecorder(tmp_path, 'robot1', CAMERAS, RecordingConfiguration(), queue_bytes=10**6)


def image(stamp: int) -> bytes:
    return bytes(serialize(image_to_message('main', stamp, b'jpeg')))


def observation(stamp: int) -> bytes:
    seen = Observation(stamp, dict.fromkeys(CAMERAS, b''), np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1)
    return bytes(serialize(observation_to_message(seen)))


def messages(path: Path) -> list[tuple[str, int]]:
    with BagReader(path) as bag:
        return [(message.topic.removeprefix('/robot1/'), message.stamp) for message in bag.messages(list(bag.topics))]


def test_an_episode_that_saw_nothing_still_starts_before_it_ends(recorder):
    recorder.start(INFO)
    written = recorder.finish(INFO).result(5)
    with BagReader(written.path) as bag:
        phases = [deserialize(message.cdr, EPISODE_INFO).phase for message in bag.messages(['/robot1/episode'])]
    assert phases == [PHASE_START, PHASE_END]
    assert {stamp for _, stamp in messages(written.path)} == {SECOND}


def test_what_was_shown_before_the_reset_is_not_of_the_episode(recorder):
    for stamp in (SECOND // 2, SECOND):
        recorder.take(camera_topic('main'), image(stamp))
        recorder.take('observation', observation(stamp))
    recorder.start(INFO)
    path = recorder.finish(INFO).result(5).path
    assert (camera_topic('main'), SECOND) in messages(path)
    assert (camera_topic('main'), SECOND // 2) not in messages(path)


@pytest.mark.parametrize('before', range(4))
def test_images_and_observation_are_recorded_however_the_start_falls_among_them(tmp_path, recorder, before):
    shown = [
        (camera_topic('main'), image(SECOND)),
        (camera_topic('wrist'), image(SECOND)),
        ('observation', observation(SECOND)),
    ]
    for message in shown[:before]:
        recorder.take(*message)
    recorder.start(INFO)
    for message in shown[before:]:
        recorder.take(*message)
    assert recorder.complete(steps=0)
    recorded = messages(recorder.finish(INFO).result(5).path)
    assert sorted(name for name, _ in recorded) == sorted(['episode', 'episode', *(name for name, _ in shown)])


def test_what_cameras_show_while_an_episode_is_begun_is_in_its_bag(recorder):
    # A policy may begin with any of it: messages reach it sooner or later than they reach the recorder.
    for stamp in (SECOND, SECOND + 1, SECOND + 2):
        for camera in CAMERAS:
            recorder.take(camera_topic(camera), image(stamp))
        recorder.take('observation', observation(stamp))
    recorder.start(INFO)
    recorded = messages(recorder.finish(INFO).result(5).path)
    assert [stamp for name, stamp in recorded if name == 'observation'] == [SECOND, SECOND + 1, SECOND + 2]


def test_an_end_without_the_final_observation_is_an_abort(recorder):
    recorder.start(INFO)
    assert recorder.checked(INFO).termination is Termination.ABORTED
    assert 'final observation' in recorder.checked(INFO).message


def test_what_a_simulator_showed_before_it_was_started_again_is_forgotten(recorder):
    for stamp in (9 * SECOND, SECOND):
        for camera in CAMERAS if stamp > SECOND else ('main',):
            recorder.take(camera_topic(camera), image(stamp))
        recorder.take('observation', observation(stamp))
    recorder.start(INFO)
    assert not recorder.complete(steps=0), 'the wrist has not shown what it sees now'
    recorder.take(camera_topic('wrist'), image(SECOND))
    assert recorder.complete(steps=0)
    assert 9 * SECOND not in {stamp for _, stamp in messages(recorder.finish(INFO).result(5).path)}


def test_an_episode_in_which_time_goes_back_is_an_abort(recorder):
    recorder.start(INFO)
    for stamp in (2 * SECOND, SECOND):
        for camera in CAMERAS:
            recorder.take(camera_topic(camera), image(stamp))
        recorder.take('observation', observation(stamp))
    ended = recorder.checked(INFO)
    assert ended.termination is Termination.ABORTED
    assert 'time went back' in ended.message


def test_an_episode_that_lacks_an_image_of_a_step_is_an_abort(recorder):
    recorder.start(INFO)
    for stamp, cameras in ((SECOND, ('main',)), (2 * SECOND, CAMERAS)):
        for camera in cameras:
            recorder.take(camera_topic(camera), image(stamp))
        recorder.take('observation', observation(stamp))
    action = Action(np.zeros(3), 0.0, False, False)
    recorder.take('action', bytes(serialize(action_to_message(action, SECOND, INFO.episode_id, 0))))
    ended = recorder.checked(INFO)
    assert ended.termination is Termination.ABORTED
    assert 'camera wrist of step 0' in ended.message


def test_an_episode_whose_final_image_the_disk_was_too_slow_for_is_an_abort(tmp_path):
    recorder = EpisodeRecorder(tmp_path, 'robot1', CAMERAS, RecordingConfiguration(), queue_bytes=10_000)
    recorder.start(INFO)
    for camera, jpeg in zip(CAMERAS, (bytes(20_000), b'jpeg'), strict=True):
        recorder.take(camera_topic(camera), bytes(serialize(image_to_message(camera, SECOND, jpeg))))
    recorder.take('observation', observation(SECOND))
    assert recorder.dropped == 1
    ended = recorder.checked(INFO)
    assert ended.termination is Termination.ABORTED
    assert 'final image of camera main' in ended.message


def test_messages_are_not_taken_for_an_episode_after_its_end(recorder):
    recorder.start(INFO)
    path = recorder.finish(INFO).result(5).path
    assert recorder.info is None
    recorder.take(camera_topic('main'), image(2 * SECOND))
    assert [name for name, _ in messages(path)] == ['episode', 'episode']


def test_the_commands_to_the_arm_are_recorded_but_no_gradings_nor_raw_images():
    topics = recorded_topics(CAMERAS)
    assert 'joint_trajectory_controller/joint_trajectory' in topics
    assert 'gripper_trajectory_controller/joint_trajectory' in topics
    assert set(TOPICS) - set(topics) == {'episode', 'outcomes'}


class SlowDisk(BagWriter):
    """A bag on a disk that writes nothing until it is let go."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.let_go = threading.Event()

    def write(self, *arguments: Any, **options: Any) -> None:
        self.let_go.wait(5)
        super().write(*arguments, **options)


def test_a_slow_disk_costs_counted_messages_and_never_blocks(tmp_path):
    disk = SlowDisk(tmp_path, 'episode1')
    writer = EpisodeWriter(lambda: disk, queue_bytes=1000)
    for stamp in range(30):
        writer.put(RawMessage('/robot1/joint_states', JOINT_STATE, stamp, bytes(100)))
    assert writer.dropped >= 19
    disk.let_go.set()
    written = writer.finish().result(5)
    assert written.messages + written.dropped == 30
    assert written.path is not None
    assert len(messages(written.path)) == written.messages

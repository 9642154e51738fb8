from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from mtopt_core.bag import BagReader, BagWriter
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Action, Episode, Outcome, Step, Termination, Verdict
from mtopt_core.episode_bag import (
    TOPICS,
    camera_topic,
    episode_ids,
    read_episode,
    read_final,
    read_outcomes,
    write_episode,
)
from mtopt_core.errors import BagError
from mtopt_core.images import decode_jpeg
from mtopt_core.message_types import ACTION, COMPRESSED_IMAGE, EPISODE_INFO, OBSERVATION, Message, serialize
from mtopt_core.messages import (
    PHASE_END,
    PHASE_START,
    action_to_message,
    episode_info_to_message,
    image_to_message,
    observation_to_message,
)

CELL = CellConfiguration()
MILLISECOND = 10**6
Make = Callable[..., Episode]
Same = Callable[[Episode, Episode], None]


class Recording:
    """Writes an episode message by message, as a recorder does, and leaves out or adds what a test wants."""

    def __init__(self, folder: Path, episode: Episode) -> None:
        self.episode = episode
        self._writer = BagWriter(folder, episode.info.episode_id)

    def write(self, topic: str, message: Message, stamp: int, type_name: str | None = None) -> None:
        name = type_name or message.__msgtype__
        self._writer.write(f'/{self.episode.info.robot}/{topic}', name, serialize(message), stamp)

    def start(self) -> None:
        info = replace(self.episode.info, termination=Termination.NONE, steps=0)
        self.write('episode', episode_info_to_message(info, PHASE_START, 0), 0)

    def end(self) -> None:
        self.write('episode', episode_info_to_message(self.episode.info, PHASE_END, self.episode.info.stamp), 10**10)

    def observations(self, skip_image: str = '') -> None:
        for observation in [*(step.observation for step in self.episode.steps), self.episode.final]:
            stamp = observation.stamp
            for camera, jpeg in observation.images.items():
                if f'{camera} {stamp}' != skip_image:
                    self.write(camera_topic(camera), image_to_message(camera, stamp, jpeg), stamp)
            self.write('observation', observation_to_message(observation), stamp)

    def actions(self, displacement: np.ndarray | None = None) -> None:
        for number, step in enumerate(self.episode.steps):
            action = step.action if displacement is None else replace(step.action, displacement=displacement)
            stamp = step.observation.stamp
            self.write('action', action_to_message(action, stamp, self.episode.info.episode_id, number), stamp)

    def finish(self) -> Path:
        return self._writer.finish()


@pytest.mark.parametrize('size', [8, 64, 200])
def test_an_episode_comes_back_as_it_was_written(
    tmp_path: Path, make_episode: Make, assert_same_episode: Same, size: int
) -> None:
    episode = make_episode(size=size)
    path = write_episode(tmp_path, episode, CELL)
    assert path == tmp_path / episode.info.episode_id
    back = read_episode(path)
    assert_same_episode(back, episode)
    assert decode_jpeg(back.final.images['side_left']).shape == (size, size, 3)


def test_a_recorded_episode_reads_like_a_written_one(
    tmp_path: Path, make_episode: Make, assert_same_episode: Same
) -> None:
    recording = Recording(tmp_path, make_episode())
    recording.start()
    recording.observations()
    recording.actions()
    recording.end()
    assert_same_episode(read_episode(recording.finish()), recording.episode)


def test_an_independent_reader_sees_the_same_episode(tmp_path: Path, make_episode: Make) -> None:
    episode = make_episode()
    path = write_episode(tmp_path, episode, CELL, [Outcome('lift-can', Verdict.SUCCESS, 1.0)])
    with next(path.glob('*.mcap')).open('rb') as file:
        found: dict[str, list[Message]] = {}
        for _, channel, _, message in make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages():
            found.setdefault(channel.topic.removeprefix('/robot1/'), []).append(message)
    assert [info.phase for info in found['episode']] == [PHASE_START, PHASE_END]
    assert [list(action.displacement) for action in found['action']] == [
        pytest.approx(step.action.displacement) for step in episode.steps
    ]
    assert len(found['observation']) == 4
    assert {name: len(messages) for name, messages in found.items() if name.startswith('cameras')} == {
        'cameras/main/compressed': 4,
        'cameras/wrist/compressed': 4,
        'cameras/side_left/compressed': 1,
        'cameras/side_right/compressed': 1,
    }
    assert bytes(found['cameras/main/compressed'][0].data) == episode.steps[0].observation.images['main']
    assert found['true_outcomes'][0].outcomes[0].task == 'lift-can'
    assert set(found) - {camera_topic(name) for name in episode.final.images} <= set(TOPICS)


def test_a_terminating_action_leaves_its_observation_as_the_final_one(
    tmp_path: Path, make_episode: Make, assert_same_episode: Same
) -> None:
    episode = make_episode(steps=2)
    last = Step(replace(episode.final, images=dict(episode.final.images)), Action(terminate=True, q_value=0.5))
    episode = replace(episode, steps=(*episode.steps, last))
    assert_same_episode(read_episode(write_episode(tmp_path, episode, CELL)), episode)


def test_streams_at_thirty_hertz_are_matched_by_stamp(
    tmp_path: Path, make_episode: Make, assert_same_episode: Same
) -> None:
    recording = Recording(tmp_path, make_episode())
    recording.start()
    recording.observations()
    episode, decoy = recording.episode, make_episode().steps[0].observation
    for number in range(45):
        stamp = episode.steps[0].observation.stamp + number * 33 * MILLISECOND + MILLISECOND
        for camera, jpeg in decoy.images.items():
            recording.write(camera_topic(camera), image_to_message(camera, stamp, jpeg), stamp)
        if stamp < episode.final.stamp:
            recording.write('observation', observation_to_message(replace(decoy, stamp=stamp)), stamp)
    recording.actions()
    recording.end()
    assert_same_episode(read_episode(recording.finish()), episode)


def test_each_camera_is_found_by_its_own_stamp(tmp_path: Path, make_episode: Make) -> None:
    recording = Recording(tmp_path, make_episode(steps=0))
    message = observation_to_message(recording.episode.final)
    stamp = recording.episode.final.stamp
    message.image_stamps = [image_to_message('', stamp + number, b'').header.stamp for number in range(4)]
    jpegs = list(recording.episode.final.images.items())
    recording.start()
    for number, (camera, jpeg) in enumerate(jpegs):
        recording.write(camera_topic(camera), image_to_message(camera, stamp + number, jpeg), stamp)
        recording.write(camera_topic(camera), image_to_message(camera, stamp - 9, b'older'), stamp - 9)
    recording.write('observation', message, stamp)
    recording.end()
    assert read_episode(recording.finish()).final.images == dict(jpegs)


def test_topics_of_others_and_actions_of_other_episodes_do_not_disturb(
    tmp_path: Path, make_episode: Make, assert_same_episode: Same
) -> None:
    recording = Recording(tmp_path, make_episode())
    recording.start()
    stamp = recording.episode.steps[0].observation.stamp
    recording.write('joint_states', image_to_message('', stamp, b''), stamp, 'sensor_msgs/msg/JointState')
    recording.write('gripper/force', image_to_message('', stamp, b''), stamp)
    recording.write('action', action_to_message(Action(), stamp, 'the episode before', 7), stamp)
    recording.observations()
    recording.actions()
    recording.end()
    assert_same_episode(read_episode(recording.finish()), recording.episode)


def test_an_episode_without_an_end_was_aborted(tmp_path: Path, make_episode: Make) -> None:
    recording = Recording(tmp_path, make_episode())
    recording.start()
    recording.observations()
    recording.actions()
    back = read_episode(recording.finish())
    assert back.info.termination is Termination.ABORTED
    assert len(back.steps) == 3


def test_an_aborted_episode_ends_with_the_last_observation_that_has_its_images(
    tmp_path: Path, make_episode: Make
) -> None:
    recording = Recording(tmp_path, make_episode(steps=2))
    recording.start()
    recording.observations()
    blind = replace(recording.episode.final, stamp=recording.episode.final.stamp + 5)
    recording.write('observation', observation_to_message(blind), blind.stamp)
    recording.actions()
    action = action_to_message(Action(), blind.stamp, recording.episode.info.episode_id, 2)
    recording.write('action', action, blind.stamp)
    back = read_episode(recording.finish())
    assert back.final.stamp == recording.episode.final.stamp
    assert len(back.steps) == 2


@pytest.mark.parametrize('chunk_size', [4096, 65536, 10**7])
def test_the_final_observation_is_read_without_what_was_before_it(
    tmp_path: Path, make_episode: Make, chunk_size: int
) -> None:
    cell = CELL.model_copy(update={'recording': CELL.recording.model_copy(update={'chunk_size': chunk_size})})
    path = write_episode(tmp_path, make_episode(size=200), cell)
    expected = read_episode(path).final
    file = next(path.glob('*.mcap'))
    with file.open('rb') as stream:
        chunks = make_reader(stream).get_summary().chunk_indexes
    if chunk_size < 10**7:
        assert len(chunks) > 1
        data = bytearray(file.read_bytes())
        data[chunks[0].chunk_start_offset + chunks[0].chunk_length - 1] ^= 0x55
        file.write_bytes(data)
        with pytest.raises(BagError, match='damaged'):
            read_episode(path)
    final = read_final(path)
    assert (final.stamp, final.images) == (expected.stamp, expected.images)
    np.testing.assert_array_equal(final.joint_positions, expected.joint_positions)


def test_the_final_observation_of_an_aborted_episode_is_the_last_that_has_its_images(
    tmp_path: Path, make_episode: Make
) -> None:
    recording = Recording(tmp_path, make_episode())
    recording.start()
    recording.observations(skip_image=f'main {recording.episode.final.stamp}')
    path = recording.finish()
    assert read_final(path).stamp == read_episode(path).final.stamp == recording.episode.steps[-1].observation.stamp


def test_a_last_action_whose_result_was_never_seen_is_left_out(tmp_path: Path, make_episode: Make) -> None:
    recording = Recording(tmp_path, make_episode())
    recording.start()
    recording.observations()
    recording.actions()
    stamp = recording.episode.final.stamp
    recording.write('action', action_to_message(Action(), stamp, recording.episode.info.episode_id, 3), stamp)
    recording.end()
    assert len(read_episode(recording.finish()).steps) == 3


def test_recorded_outcomes_come_back(tmp_path: Path, make_episode: Make) -> None:
    outcomes = [Outcome('lift-can', Verdict.SUCCESS, 1.0), Outcome('lift-any', Verdict.FAILURE, 0.0)]
    episode = make_episode()
    (grading,) = read_outcomes(write_episode(tmp_path, episode, CELL, outcomes))
    assert grading == (episode.info.episode_id, 'simulator', '', outcomes)
    assert read_outcomes(write_episode(tmp_path, make_episode('another'), CELL)) == []


def test_only_complete_bags_are_listed(tmp_path: Path, make_episode: Make) -> None:
    assert episode_ids(tmp_path / 'absent') == []
    for name in ('b', 'a'):
        write_episode(tmp_path, make_episode(name), CELL)
    writer = BagWriter(tmp_path, 'c')
    assert episode_ids(tmp_path) == ['a', 'b']
    writer.abandon()


def _foreign(recording: Recording) -> None:
    recording.observations()


def _empty(recording: Recording) -> None:
    recording.start()


def _mistyped_topic(recording: Recording) -> None:
    recording.start()
    recording.observations()
    recording.write('action', image_to_message('', 1, b''), 1)


def _mistyped_content(recording: Recording) -> None:
    recording.start()
    recording.observations()
    recording.write('action', image_to_message('', 1, b''), 1, ACTION)


def _missing_observation(recording: Recording) -> None:
    recording.start()
    recording.observations()
    recording.write('action', action_to_message(Action(), 77, recording.episode.info.episode_id, 1), 77)


def _missing_image(recording: Recording) -> None:
    recording.start()
    recording.observations(skip_image=f'wrist {recording.episode.steps[1].observation.stamp}')
    recording.actions()
    recording.end()


def _not_finite(recording: Recording) -> None:
    recording.start()
    recording.observations()
    recording.actions(displacement=np.array([0.0, np.nan, 0.0]))


def _two_robots(recording: Recording) -> None:
    recording.start()
    recording.observations()
    recording.write('../robot2/episode', episode_info_to_message(recording.episode.info, PHASE_START, 0), 0)


def _uneven_stamps(recording: Recording) -> None:
    message = observation_to_message(recording.episode.final)
    message.image_stamps = []
    recording.start()
    recording.write('observation', message, recording.episode.final.stamp)
    recording.end()


@pytest.mark.parametrize(
    ('record', 'says'),
    [
        (_foreign, 'not of mtopt: expected one topic /<robot>/episode, found 0 among /robot1/cameras'),
        (_two_robots, 'found 2'),
        (_empty, 'no observation'),
        (_mistyped_topic, f'/robot1/action is {COMPRESSED_IMAGE}, expected {ACTION}'),
        (_mistyped_content, f'a message is no {ACTION}'),
        (_missing_observation, 'the observation of step 1 at 77 ns is missing'),
        (_missing_image, 'the image of camera wrist at 2000000000 ns is missing'),
        (_not_finite, 'the action of step 0 is not finite'),
        (_uneven_stamps, 'argument 2 is shorter'),
    ],
)
def test_a_bag_that_is_no_episode_says_why(
    tmp_path: Path, make_episode: Make, record: Callable[[Recording], None], says: str
) -> None:
    recording = Recording(tmp_path, make_episode())
    record(recording)
    path = recording.finish()
    with pytest.raises(BagError, match=says) as error:
        read_episode(path)
    assert str(path) in str(error.value)


def test_wherever_a_bag_is_cut_or_spoiled_only_bag_errors_are_raised(tmp_path: Path, make_episode: Make) -> None:
    path = write_episode(tmp_path, make_episode(steps=2, size=8), CELL)
    file = next(path.glob('*.mcap'))
    data = file.read_bytes()
    for place in range(0, len(data), 97):
        file.write_bytes(data[:place])
        with pytest.raises(BagError):
            read_episode(path)
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        for read in (read_episode, read_final):
            with suppress(BagError):
                read(path)


def test_topics_have_the_types_of_the_interface(tmp_path: Path, make_episode: Make) -> None:
    with BagReader(write_episode(tmp_path, make_episode(), CELL)) as bag:
        for name, expected in (('episode', EPISODE_INFO), ('observation', OBSERVATION), ('action', ACTION)):
            assert bag.topics[f'/robot1/{name}'] == expected == TOPICS[name]

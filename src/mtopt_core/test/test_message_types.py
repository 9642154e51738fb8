"""Our CDR, hashes and conversions against the real rclpy."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rclpy.serialization
import sensor_msgs.msg

import mtopt_msgs.msg
from mtopt_core.episode import Action, EpisodeInfo, Observation, Outcome, Source, Termination, Verdict
from mtopt_core.errors import BagError
from mtopt_core.message_types import describe, deserialize, header_stamp, image_data, serialize, typestore
from mtopt_core.messages import (
    PHASE_END,
    action_from_message,
    action_to_message,
    episode_info_from_message,
    episode_info_to_message,
    image_to_message,
    observation_from_message,
    observation_to_message,
    outcomes_from_message,
    outcomes_to_message,
    stamp_of,
)

STAMP = 1_700_000_000_123_456_789
ACTION = Action(np.array([0.5, -0.25, 0.125]), 0.75, True, False, True, Source.ENDING, 0.5)
OBSERVATION = Observation(STAMP, {'main': b'1', 'wrist': b'2'}, np.arange(7.0), np.arange(3.0), 0.5, True, 0.25, 0.125)
INFO = EpisodeInfo(
    'id',
    'robot',
    'lift-can',
    'lift',
    'learned',
    'v1',
    'before',
    -3,
    4,
    True,
    5,
    Termination.ABORTED,
    'why',
    '{}',
    STAMP,
)
OUTCOMES = [Outcome('lift-can', Verdict.UNSURE, 0.5), Outcome('lift-any', Verdict.SUCCESS, 1.0)]


def _in_ros(message: object, package: ModuleType) -> object:
    """Return what rclpy makes of a rosbags message's bytes."""
    kind = getattr(package, type(message).__name__.rpartition('__')[2])
    return rclpy.serialization.deserialize_message(bytes(serialize(message)), kind)


def _both(message: object) -> list[object]:
    return [deserialize(serialize(message), message.__msgtype__), _in_ros(message, mtopt_msgs.msg)]


def _type_hashes() -> dict[str, str]:
    """Return the hashes rosidl computed when mtopt_msgs was built."""
    for prefix in os.environ['AMENT_PREFIX_PATH'].split(os.pathsep):
        files = sorted((Path(prefix) / 'share' / 'mtopt_msgs' / 'msg').glob('*.json'))
        if files:
            entries = [entry for file in files for entry in json.loads(file.read_text())['type_hashes']]
            return {entry['type_name']: entry['hash_string'] for entry in entries}
    raise AssertionError('mtopt_msgs is not built')


def test_type_hashes_are_those_ros_computes() -> None:
    hashes = _type_hashes()
    ours = [name for name in typestore().types if name.startswith('mtopt_msgs/')]
    assert {name: describe(name).type_hash for name in ours} == {name: hashes[name] for name in ours}


def test_every_message_of_ours_is_known() -> None:
    built = {name for name in dir(mtopt_msgs.msg) if not name.startswith('_') and name[0].isupper()}
    known = {name.rpartition('/')[2] for name in typestore().types if name.startswith('mtopt_msgs/msg/')}
    assert known == built


def test_a_type_of_neither_ros_nor_ours_is_an_error() -> None:
    with pytest.raises(BagError, match='acme_msgs/msg/Secret'):
        describe('acme_msgs/msg/Secret')


def test_an_observation_means_the_same_to_ros_and_to_bags() -> None:
    for message in _both(observation_to_message(OBSERVATION)):
        back = observation_from_message(message, OBSERVATION.images)
        assert list(message.cameras) == ['main', 'wrist']
        assert [stamp_of(stamp) for stamp in message.image_stamps] == [STAMP, STAMP]
        np.testing.assert_array_equal(back.joint_positions, OBSERVATION.joint_positions)
        np.testing.assert_array_equal(back.tip_position, OBSERVATION.tip_position)
        assert replace(back, joint_positions=0, tip_position=0) == replace(
            OBSERVATION, joint_positions=0, tip_position=0
        )


def test_an_action_means_the_same_to_ros_and_to_bags() -> None:
    for message in _both(action_to_message(ACTION, STAMP, 'id', 4)):
        back = action_from_message(message)
        assert (message.episode_id, message.step, stamp_of(message.header.stamp)) == ('id', 4, STAMP)
        np.testing.assert_array_equal(back.displacement, ACTION.displacement)
        assert replace(back, displacement=0) == replace(ACTION, displacement=0)


def test_an_unknown_q_value_stays_unknown() -> None:
    message = action_to_message(replace(ACTION, q_value=math.nan), STAMP, 'id', 0)
    assert math.isnan(action_from_message(_in_ros(message, mtopt_msgs.msg)).q_value)


def test_episode_and_outcomes_mean_the_same_to_ros_and_to_bags() -> None:
    for message in _both(episode_info_to_message(INFO, PHASE_END, STAMP)):
        assert episode_info_from_message(message) == INFO
        assert message.phase == PHASE_END
    for message in _both(outcomes_to_message(OUTCOMES, STAMP, 'id', 'detector', 'v2')):
        assert outcomes_from_message(message) == OUTCOMES
        assert (message.episode_id, message.source, message.model_version) == ('id', 'detector', 'v2')


def test_an_image_is_the_jpeg_itself() -> None:
    message = _in_ros(image_to_message('wrist', STAMP, b'jpeg bytes'), sensor_msgs.msg)
    assert bytes(message.data) == b'jpeg bytes'
    assert (message.format, message.header.frame_id) == ('jpeg', 'wrist')


def test_the_stamp_is_found_without_decoding() -> None:
    assert header_stamp(serialize(action_to_message(ACTION, STAMP, 'id', 4))) == STAMP
    with pytest.raises(ValueError, match='no header'):
        header_stamp(b'\0\1\0\0')


@pytest.mark.parametrize('spoiled', [{'displacement': np.array([0, math.inf, 0])}, {'yaw_change': math.nan}])
def test_an_action_that_is_not_finite_is_an_error(spoiled: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='step 4 is not finite'):
        action_from_message(action_to_message(replace(ACTION, **spoiled), STAMP, 'id', 4))


@pytest.mark.parametrize(
    'spoiled', [{'joint_positions': np.full(7, math.nan)}, {'yaw': math.nan}, {'tip_position': np.full(3, math.nan)}]
)
def test_an_observation_that_is_not_finite_is_an_error(spoiled: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='not finite'):
        observation_from_message(observation_to_message(replace(OBSERVATION, **spoiled)), {})


def test_bytes_of_another_type_are_an_error() -> None:
    cdr = serialize(action_to_message(ACTION, STAMP, 'id', 4))
    for length in range(0, len(cdr), 5):
        with pytest.raises(ValueError, match='is no mtopt_msgs/msg/EpisodeInfo'):
            deserialize(cdr[:length], 'mtopt_msgs/msg/EpisodeInfo')


@pytest.mark.parametrize('size', range(6))
def test_an_images_data_are_found_in_what_ros_serialises_and_dds_fills_up(size):
    data = bytes(range(size))
    image = sensor_msgs.msg.CompressedImage(format='jpeg', data=data)
    image.header.frame_id = 'main'
    cdr = rclpy.serialization.serialize_message(image)
    assert image_data(cdr) == data
    assert image_data(cdr + bytes(-len(cdr) % 4)) == data
    with pytest.raises(ValueError, match='CompressedImage'):
        image_data(cdr + bytes(8))

"""The types of the messages in bags, without ROS: names, definitions, hashes, and CDR to object and back."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError
from rosbags.typesys.store import Typestore

from mtopt_core.errors import BagError, ConfigurationError

OBSERVATION = 'mtopt_msgs/msg/Observation'
ACTION = 'mtopt_msgs/msg/Action'
EPISODE_INFO = 'mtopt_msgs/msg/EpisodeInfo'
STEP = 'mtopt_msgs/msg/Step'
TASK_OUTCOMES = 'mtopt_msgs/msg/TaskOutcomes'
COLLECTOR_STATUS = 'mtopt_msgs/msg/CollectorStatus'
MODEL_VERSION = 'mtopt_msgs/msg/ModelVersion'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
JOINT_STATE = 'sensor_msgs/msg/JointState'

# The four bytes before it say how the message is encoded; the second of them, that it is little-endian.
_STAMP_START, _STAMP_END = 4, 12

Message = Any
"""A message object of rosbags; its class is generated when the types are loaded."""


def _message_folder() -> Path:
    """Return the folder of mtopt_msgs' .msg files: the source tree's, else the installed package's."""
    candidates = [parent / 'mtopt_msgs' / 'msg' for parent in Path(__file__).resolve().parents]
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    candidates += [Path(prefix) / 'share' / 'mtopt_msgs' / 'msg' for prefix in prefixes if prefix]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise ConfigurationError('the message definitions of mtopt_msgs were not found; source the workspace first')


@cache
def typestore() -> Typestore:
    """Return ROS 2 Jazzy's message types together with those of mtopt_msgs.

    Raises:
        ConfigurationError: The .msg files of mtopt_msgs are not to be found.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for path in sorted(_message_folder().glob('*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'mtopt_msgs/msg/{path.stem}'))
    store.register(types)
    return store


@dataclass(frozen=True)
class TypeDescription:
    """What a bag says about a message type.

    Attributes:
        definition: Text of the .msg file and, after it, of every message it contains.
        type_hash: RIHS01 hash, as ROS 2 computes it.
    """

    definition: str
    type_hash: str


@cache
def describe(type_name: str) -> TypeDescription:
    """Return the definition and hash of a message type.

    Raises:
        BagError: The type is neither part of ROS 2 Jazzy nor of mtopt_msgs.
    """
    try:
        definition, _ = typestore().generate_msgdef(type_name, ros_version=2)
    except TypesysError:
        raise BagError(f'message type {type_name} cannot be recorded: it is neither of ROS 2 Jazzy nor ours') from None
    return TypeDescription(definition, typestore().hash_rihs01(type_name))


def serialize(message: Message) -> memoryview:
    """Return the CDR bytes of a rosbags message."""
    return typestore().serialize_cdr(message, message.__msgtype__)


def deserialize(cdr: bytes | memoryview, type_name: str) -> Message:
    """Return the rosbags message of CDR bytes.

    Raises:
        ValueError: The bytes are no such message.
    """
    try:
        return typestore().deserialize_cdr(cdr, type_name)
    except Exception as error:
        # Bytes of another type end in whatever error the generated code meets first.
        raise ValueError(f'a message is no {type_name}: {error}') from None


def header_stamp(cdr: bytes | memoryview) -> int:
    """Return the stamp, ns, of a serialised message that begins with a header, without decoding the rest.

    Raises:
        ValueError: The bytes are too few.
    """
    if len(cdr) < _STAMP_END:
        raise ValueError(f'a message of {len(cdr)} bytes has no header')
    seconds, nanoseconds = struct.unpack_from('<iI' if cdr[1] else '>iI', cdr, _STAMP_START)
    return seconds * 10**9 + nanoseconds


def image_data(cdr: bytes) -> bytes:
    """Return the data of a serialised `sensor_msgs/CompressedImage`, without decoding the rest.

    Raises:
        ValueError: The bytes are no such message.
    """
    length = struct.Struct('<I' if cdr[1:2] == b'\1' else '>I')
    place = _STAMP_END
    try:
        for _ in ('frame_id', 'format'):
            (characters,) = length.unpack_from(cdr, place)
            place = -(-(place + length.size + characters) // 4) * 4  # numbers stand at multiples of their size
        (size,) = length.unpack_from(cdr, place)
    except struct.error:
        size = -1
    end = place + length.size + size
    # DDS fills a message up to a multiple of four bytes.
    if size < 0 or not 0 <= len(cdr) - end < 4:
        raise ValueError(f'a message is no {COMPRESSED_IMAGE}: its data are not of {size} bytes')
    return cdr[place + length.size : end]

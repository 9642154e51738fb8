"""The files of a rosbag2 directory: one MCAP file and the metadata.yaml that `ros2 bag` reads first.

The mcap library writes the file: it flushes chunk by chunk, checks them by CRC, and needs 1 ms for a bag where the
writer of rosbags, which spends its time on YAML, needs 26. rosbags gives the message types and their hashes.
"""

from __future__ import annotations

import fcntl
import os
import textwrap
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from mcap.writer import CompressionType, Writer

SCHEMA_ENCODING = 'ros2msg'
MESSAGE_ENCODING = 'cdr'
_METADATA_VERSION = 9
_NO_TIME = {'sec': 0, 'nsec': 0}


@dataclass(frozen=True)
class Topic:
    """What a bag stores about a topic.

    Attributes:
        name: Absolute name.
        type_name: Message type, for instance `sensor_msgs/msg/CompressedImage`.
        definition: Text of the message definition and of those it contains.
        metadata: Under rosbag2's keys, the RIHS01 hash of the type and, as YAML, the publishers' quality of service.
    """

    name: str
    type_name: str
    definition: bytes
    metadata: dict[str, str]

    @classmethod
    def reliable(cls, name: str, type_name: str, definition: str, type_hash: str, latched: bool) -> Topic:
        """Return a topic whose publisher is reliable and, if latched, serves late subscribers too."""
        return cls(
            name,
            type_name,
            definition.encode(),
            {'offered_qos_profiles': _offered_qos(latched), 'topic_type_hash': type_hash},
        )


class _Dumper(yaml.CSafeDumper):
    """Writes shared parts out instead of by reference."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 # PyYAML passes it
        return True


def _to_yaml(data: object) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


@cache
def _from_yaml(text: str) -> object:
    return yaml.load(text, Loader=yaml.CSafeLoader)


@cache
def _offered_qos(latched: bool) -> str:
    return _to_yaml(
        [
            {
                'history': 'keep_last',
                'depth': 1 if latched else 10,
                'reliability': 'reliable',
                'durability': 'transient_local' if latched else 'volatile',
                'deadline': _NO_TIME,
                'lifespan': _NO_TIME,
                'liveliness': 'automatic',
                'liveliness_lease_duration': _NO_TIME,
                'avoid_ros_namespace_conventions': False,
            }
        ]
    )


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _ChunkWriter(Writer):
    """An MCAP writer whose chunk can be ended before it has its size."""

    def end_chunk(self) -> None:
        """Hand what is in the unfinished chunk to the stream."""
        # The library ends chunks by size only and offers nothing else; the tests of salvaging notice if this changes.
        self._Writer__finalize_chunk()  # type: ignore[attr-defined]


class Rosbag2Directory:
    """A rosbag2 directory being written. Its MCAP file is locked until then, so that nobody salvages it meanwhile."""

    def __init__(self, path: Path, name: str, chunk_size: int) -> None:
        """Make the directory and start its file.

        Args:
            path: Where; must not exist.
            name: Of the bag, in the file's name.
            chunk_size: Bytes after which a chunk ends.

        Raises:
            OSError: The directory exists or cannot be written.
        """
        path.mkdir(parents=True)
        self.path = path
        self._name = f'{name}_0.mcap'
        self._file = (path / self._name).open('xb')
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._writer = _ChunkWriter(self._file, chunk_size=chunk_size, compression=CompressionType.NONE)
        self._writer.start(profile='ros2', library='mtopt')
        self._topics: dict[int, Topic] = {}
        self._schemas: dict[str, int] = {}
        self._counts: dict[int, int] = {}
        self._first, self._last = 2**63 - 1, 0

    def add_topic(self, topic: Topic) -> int:
        """Add a topic and return its channel."""
        if topic.type_name not in self._schemas:
            self._schemas[topic.type_name] = self._writer.register_schema(
                topic.type_name, SCHEMA_ENCODING, topic.definition
            )
        channel = self._writer.register_channel(
            topic.name, MESSAGE_ENCODING, self._schemas[topic.type_name], topic.metadata
        )
        self._topics[channel] = topic
        self._counts[channel] = 0
        return channel

    def write(self, channel: int, stamp: int, cdr: bytes | memoryview) -> None:
        """Write one message; a chunk that is complete goes to the operating system at once.

        Raises:
            OSError: The disk is full or fails.
        """
        self._writer.add_message(channel, log_time=stamp, publish_time=stamp, data=cdr)  # type: ignore[arg-type]
        self._file.flush()
        self._counts[channel] += 1
        self._first, self._last = min(self._first, stamp), max(self._last, stamp)

    def end_chunk(self) -> None:
        """Hand everything written so far to the operating system: killing this process does not lose it any more.

        Raises:
            OSError: The disk is full or fails.
        """
        self._writer.end_chunk()
        self._file.flush()

    def finish(self) -> None:
        """Write index and metadata.yaml and sync everything to the disk.

        Raises:
            OSError: The disk is full or fails.
        """
        metadata = _to_yaml(self._metadata())
        self._writer.add_metadata('rosbag2', {'serialized_metadata': metadata})
        self._writer.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with (self.path / 'metadata.yaml').open('x') as file:
            file.write('rosbag2_bagfile_information:\n' + textwrap.indent(metadata, '  '))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path)

    def close(self) -> None:
        """Leave the directory as it is, without an index."""
        # Closing writes what is still buffered, which a full disk refuses once more.
        with suppress(OSError):
            self._file.close()

    def _metadata(self) -> dict[str, object]:
        """Return what rosbag2 keeps about a bag."""
        span = {
            'duration': {'nanoseconds': self._last - self._first},
            'starting_time': {'nanoseconds_since_epoch': self._first},
            'message_count': sum(self._counts.values()),
        }
        topics = [
            {
                'topic_metadata': {
                    'name': topic.name,
                    'type': topic.type_name,
                    'serialization_format': MESSAGE_ENCODING,
                    'offered_qos_profiles': _from_yaml(topic.metadata.get('offered_qos_profiles', '[]')),
                    'type_description_hash': topic.metadata.get('topic_type_hash', ''),
                },
                'message_count': self._counts[channel],
            }
            for channel, topic in self._topics.items()
        ]
        return {
            'version': _METADATA_VERSION,
            'storage_identifier': 'mcap',
            **span,
            'topics_with_message_count': topics,
            'compression_format': '',
            'compression_mode': '',
            'relative_file_paths': [self._name],
            'files': [{'path': self._name, **span}],
            'custom_data': {},
            'ros_distro': 'jazzy',
        }

"""Finds the messages of an MCAP file (https://mcap.dev/spec) without taking the rest of it apart.

Reading many small bags is what log replay does all day. The mcap library makes several Python calls for every field and
needs 4 ms for a bag whose images are decoded in 2; here a record costs one call.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from mmap import mmap
from operator import itemgetter
from typing import NamedTuple

from mcap.records import Chunk
from mcap.stream_reader import get_chunk_data_stream

MAGIC = b'\x89MCAP0\r\n'

_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX = 2, 3, 4, 5, 6, 8
"""Opcodes."""

# What each kind of record begins with, its opcode and length first.
_HEAD = struct.Struct('<BQ')
_FOOTER_HEAD = struct.Struct('<BQQQI')  # start of the summary, of its offsets; checksum
_NUMBER_HEAD = struct.Struct('<BQH')  # number of a schema
_CHANNEL_HEAD = struct.Struct('<BQHH')  # its number; the schema's
_MESSAGE_HEAD = struct.Struct('<BQHIQQ')  # channel; sequence; log time; publish time, ns
_CHUNK_HEAD = struct.Struct('<BQQQQI')  # first and last log time; size; checksum
_CHUNK_INDEX_HEAD = struct.Struct('<BQQQQQ')  # first and last log time; place and length of the chunk
_LENGTH = struct.Struct('<I')


class McapChannel(NamedTuple):
    """A channel: its topic, and the name of its messages' type."""

    topic: str
    type_name: str


class McapMessage(NamedTuple):
    """Where a message's bytes are.

    Attributes:
        log_time: When it was recorded, ns.
        channel: Number of its channel.
        source: What holds it.
        start: Where it starts there.
        end: Where it ends.
    """

    log_time: int
    channel: int
    source: mmap | bytes
    start: int
    end: int

    @property
    def data(self) -> bytes:
        """The message."""
        return self.source[self.start : self.end]


class McapFile:
    """A complete MCAP file.

    Args:
        data: The file.

    Attributes:
        channels: By number.

    Raises:
        ValueError: It is damaged, or no such file; `struct.error`, too, says that.
    """

    def __init__(self, data: mmap | bytes) -> None:
        if data[: len(MAGIC)] != MAGIC:
            raise ValueError('it does not begin as an MCAP file does')
        self._data = data
        footer = len(data) - len(MAGIC) - _FOOTER_HEAD.size
        opcode, _, self._summary, _, checksum = _FOOTER_HEAD.unpack_from(data, footer)
        if opcode != _FOOTER or self._summary > footer:
            raise ValueError('its footer is damaged')
        self.channels: dict[int, McapChannel] = {}
        self._chunks: list[tuple[int, int]] = []
        if self.has_index:
            if checksum and zlib.crc32(data[self._summary : len(data) - len(MAGIC) - 4]) != checksum:
                raise ValueError('its index fails the checksum')
            self._read_index(data[self._summary : footer])

    @property
    def has_index(self) -> bool:
        """Whether the file says which channels and chunks it has."""
        return self._summary != 0

    @property
    def chunks(self) -> int:
        """How many chunks there are; none in a file that was written without."""
        return len(self._chunks)

    def messages(self, channels: Collection[int], first_chunk: int = 0) -> list[McapMessage]:
        """Return the messages of some channels in order of their log times, those of one time as they were written.

        Args:
            channels: Their numbers.
            first_chunk: Chunks before this one are not read.

        Raises:
            ValueError: A chunk is damaged; `struct.error` says the same.
        """
        found: list[McapMessage] = []
        for source, start, end in self._parts(first_chunk):
            data = source[start:end]
            for opcode, place, after in _records(data):
                if opcode == _MESSAGE:
                    _, _, channel, _, log_time, _ = _MESSAGE_HEAD.unpack_from(data, place)
                    if channel in channels:
                        body = place + _MESSAGE_HEAD.size
                        found.append(McapMessage(log_time, channel, source, start + body, start + after))
        return sorted(found, key=_log_time)

    def _read_index(self, summary: bytes) -> None:
        types: dict[int, str] = {}
        for opcode, start, _ in _records(summary):
            if opcode == _SCHEMA:
                number = _NUMBER_HEAD.unpack_from(summary, start)[-1]
                types[number], _ = _string(summary, start + _NUMBER_HEAD.size)
            elif opcode == _CHANNEL:
                *_, number, schema = _CHANNEL_HEAD.unpack_from(summary, start)
                topic, _ = _string(summary, start + _CHANNEL_HEAD.size)
                self.channels[number] = McapChannel(topic, types.get(schema, ''))
            elif opcode == _CHUNK_INDEX:
                *_, place, length = _CHUNK_INDEX_HEAD.unpack_from(summary, start)
                self._chunks.append((place, length))

    def _parts(self, first_chunk: int) -> Iterator[tuple[mmap | bytes, int, int]]:
        """Yield every run of messages, what holds it and from where to where: a file without chunks is a single one."""
        if not self._chunks:
            yield self._data, len(MAGIC), self._summary
        for place, length in self._chunks[first_chunk:]:
            yield self._chunk(place, length)

    def _chunk(self, place: int, length: int) -> tuple[mmap | bytes, int, int]:
        head = self._data[place : place + _CHUNK_HEAD.size]
        opcode, content, first, last, size, checksum = _CHUNK_HEAD.unpack(head)
        compression, start = _string(self._data, place + _CHUNK_HEAD.size)
        (stored,) = struct.unpack_from('<Q', self._data, start)
        start, end = start + 8, place + length
        if opcode != _CHUNK or content + _HEAD.size != length or start + stored != end:
            raise ValueError(f'there is no chunk at {place}')
        data = self._data[start:end]
        if compression:
            chunk = Chunk(compression, data, last, first, checksum, size)
            stream, size = get_chunk_data_stream(chunk, validate_crc=True)
            return stream.read(size), 0, size
        if checksum and zlib.crc32(data) != checksum:
            raise ValueError(f'the chunk at {place} fails its checksum')
        return self._data, start, end


def _records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the opcode of every record, where it starts and where it ends.

    Raises:
        ValueError: The last one reaches beyond the data.
    """
    place = 0
    while place < len(data):
        opcode, length = _HEAD.unpack_from(data, place)
        after = place + _HEAD.size + length
        yield opcode, place, after
        place = after
    if place != len(data):
        raise ValueError('a record is cut off')


def _string(data: mmap | bytes, place: int) -> tuple[str, int]:
    """Return a string and where it ends."""
    (length,) = _LENGTH.unpack_from(data, place)
    end = place + _LENGTH.size + length
    return data[place + _LENGTH.size : end].decode(), end


_log_time = itemgetter(0)

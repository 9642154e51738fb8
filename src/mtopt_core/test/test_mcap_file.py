"""Messages of MCAP files are found where the mcap library finds them, whatever wrote the file."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from mtopt_core.mcap_file import McapFile

# Times repeat, and go back within a chunk and from one chunk to the next.
TIMES = [5, 3, 3, 9, 1, 7, 7, 2, 8, 3, 6, 4] * 20


def write(**options: object) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, chunk_size=1000, **options)
    writer.start('ros2', 'test')
    schema = writer.register_schema('some/msg/Type', 'ros2msg', b'int32 x')
    channels = [writer.register_channel(f'/topic/{number}', 'cdr', schema) for number in range(3)]
    for number, time in enumerate(TIMES):
        writer.add_message(channels[number % 3], time, bytes([number]) * (number % 50), time)
    writer.add_attachment(0, 0, 'notes', 'text/plain', b'of somebody else')
    writer.finish()
    return file.getvalue()


def found(data: bytes, topics: Iterable[str]) -> list[tuple[str, str, int, bytes]]:
    file = McapFile(data)
    wanted = {number for number, channel in file.channels.items() if channel.topic in topics}
    return [(*file.channels[one.channel], one.log_time, one.data) for one in file.messages(wanted)]


WRITERS = [
    {'compression': CompressionType.NONE},
    {'compression': CompressionType.ZSTD},
    {'compression': CompressionType.LZ4},
    {'compression': CompressionType.NONE, 'enable_crcs': False},
    {'use_chunking': False},
]


@pytest.mark.parametrize('options', WRITERS, ids=str)
@pytest.mark.parametrize('topics', [{'/topic/0', '/topic/1', '/topic/2'}, {'/topic/1'}, {'/absent'}], ids=len)
def test_messages_and_their_order_are_those_the_library_reads(options: dict[str, object], topics: set[str]) -> None:
    data = write(**options)
    read = make_reader(io.BytesIO(data)).iter_messages(topics)
    expected = [(channel.topic, schema.name, message.log_time, message.data) for schema, channel, message in read]
    assert found(data, topics) == expected
    assert len(expected) == 80 * len(topics & {'/topic/0', '/topic/1', '/topic/2'})


@pytest.mark.parametrize('options', WRITERS[:3], ids=str)
def test_no_damage_goes_unnoticed_that_changes_a_message(options: dict[str, object]) -> None:
    data = write(**options)
    whole = found(data, {'/topic/1'})
    noticed = 0
    for place in range(0, len(data), 13):
        spoiled = bytearray(data)
        spoiled[place] ^= 0x55
        try:
            assert found(bytes(spoiled), {'/topic/1'}) == whole
        except AssertionError:
            raise
        except Exception:
            noticed += 1
    assert noticed > len(data) / 13 / 2

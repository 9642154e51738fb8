from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from small_disk import small_disk

from mtopt_core.bag import BagReader, BagWriter, partial_bags, partial_path, salvage, set_aside
from mtopt_core.episode import Action
from mtopt_core.errors import BagBusyError, BagError, DiskFullError
from mtopt_core.message_types import ACTION, MODEL_VERSION, describe, serialize, typestore
from mtopt_core.messages import action_to_message
from mtopt_core.paths import DataFolder

TOPIC = '/robot1/action'
CDR = bytes(serialize(action_to_message(Action(), 5, 'e1', 0)))


def _fill(writer: BagWriter, count: int) -> None:
    for stamp in range(count):
        writer.write(TOPIC, ACTION, CDR, stamp)


def _write(folder: Path, count: int) -> Path:
    writer = BagWriter(folder, 'e1', 4096)
    _fill(writer, count)
    return writer.finish()


def _stamps(path: Path) -> list[int]:
    with BagReader(path) as bag:
        return [message.stamp for message in bag.messages([TOPIC])]


def _cut(path: Path, size: int) -> Path:
    """Turn a bag into what a crash leaves: a file that is cut off, under the temporary name."""
    file = next(path.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:size])
    (path / 'metadata.yaml').unlink()
    return path.rename(partial_path(path.parent, path.name))


def test_messages_come_back_in_order_of_their_stamps(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, 'e1')
    for stamp in (3, 1, 2):
        writer.write(TOPIC, ACTION, CDR, stamp)
    path = writer.finish()
    assert path == tmp_path / 'e1'
    with BagReader(path) as bag:
        assert bag.topics == {TOPIC: ACTION}
        assert [(message.stamp, message.cdr) for message in bag.messages([TOPIC])] == [(1, CDR), (2, CDR), (3, CDR)]
        assert list(bag.messages(['/other'])) == []


def test_the_mcap_library_decodes_a_bag_by_the_definitions_in_it(tmp_path: Path) -> None:
    path = _write(tmp_path, 3)
    with (path / 'e1_0.mcap').open('rb') as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == 'ros2'
        decoded = list(reader.iter_decoded_messages())
    assert [found.message.log_time for found in decoded] == [0, 1, 2]
    assert {found.channel.topic for found in decoded} == {TOPIC}
    assert {found.decoded_message.episode_id for found in decoded} == {'e1'}
    assert decoded[0].channel.metadata['topic_type_hash'] == describe(ACTION).type_hash


def test_rosbags_reads_the_directory_with_types_and_quality_of_service(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, 'e1')
    version = typestore().types[MODEL_VERSION]
    writer.write(TOPIC, ACTION, CDR, 7)
    latched = serialize(
        version(action_to_message(Action(), 5, 'e1', 0).header, 'policy', 'v1', '/somewhere', 'ab', ['lift-any'])
    )
    writer.write('/robot1/policy/model_version', MODEL_VERSION, latched, 9, latched=True)
    path = writer.finish()
    with Reader(path) as bag:
        found = {connection.topic: connection for connection in bag.connections}
        assert bag.message_count == 2
        assert (bag.start_time, bag.end_time) == (7, 10)
    qos = {topic: connection.ext.offered_qos_profiles[0] for topic, connection in found.items()}
    assert all(profile.reliability == QosReliability.RELIABLE for profile in qos.values())
    assert qos[TOPIC].durability == QosDurability.VOLATILE
    assert qos['/robot1/policy/model_version'].durability == QosDurability.TRANSIENT_LOCAL
    assert {connection.msgtype: connection.digest for connection in found.values()} == {
        name: describe(name).type_hash for name in (ACTION, MODEL_VERSION)
    }
    with AnyReader([path]) as bag:
        decoded = [bag.deserialize(data, connection.msgtype) for connection, _, data in bag.messages()]
    assert decoded[1].tasks == ['lift-any']


def test_the_metadata_has_every_key_that_rosbag2_reads(tmp_path: Path) -> None:
    metadata = yaml.safe_load((_write(tmp_path, 3) / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    topic = metadata.pop('topics_with_message_count')[0]
    assert metadata == {
        'version': 9,
        'storage_identifier': 'mcap',
        'duration': {'nanoseconds': 2},
        'starting_time': {'nanoseconds_since_epoch': 0},
        'message_count': 3,
        'compression_format': '',
        'compression_mode': '',
        'relative_file_paths': ['e1_0.mcap'],
        'files': [
            {
                'path': 'e1_0.mcap',
                'starting_time': {'nanoseconds_since_epoch': 0},
                'duration': {'nanoseconds': 2},
                'message_count': 3,
            }
        ],
        'custom_data': {},
        'ros_distro': 'jazzy',
    }
    assert topic['message_count'] == 3
    assert topic['topic_metadata']['serialization_format'] == 'cdr'
    assert topic['topic_metadata']['offered_qos_profiles'][0]['reliability'] == 'reliable'


def test_a_bag_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, 'e1')
    writer.write(TOPIC, ACTION, CDR, 1)
    assert [path.name for path in tmp_path.iterdir()] == ['.e1.partial']
    assert partial_bags(tmp_path) == [tmp_path / '.e1.partial']
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ['e1']
    with pytest.raises(BagError, match='closed'):
        writer.write(TOPIC, ACTION, CDR, 2)


def test_an_abandoned_or_empty_bag_leaves_nothing(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, 'e1')
    writer.write(TOPIC, ACTION, CDR, 1)
    writer.abandon()
    with pytest.raises(BagError, match='no message'):
        BagWriter(tmp_path, 'e2').finish()
    assert list(tmp_path.iterdir()) == []


def test_an_id_is_used_once(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    under_way = BagWriter(tmp_path, 'e2')
    for taken in ('e1', 'e2'):
        with pytest.raises(BagError, match='used once'):
            BagWriter(tmp_path, taken)
    under_way.abandon()


@pytest.mark.parametrize('name', ['', '.', '..', 'lab/robot', '.hidden'])
def test_an_id_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BagError, match='cannot name a folder'):
        BagWriter(tmp_path / 'bags', name)


def test_what_cannot_be_recorded_is_an_error(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, 'e1')
    with pytest.raises(BagError, match='acme_msgs/msg/Secret'):
        writer.write('/robot1/secret', 'acme_msgs/msg/Secret', CDR, 1)
    with pytest.raises(BagError, match='negative'):
        writer.write(TOPIC, ACTION, CDR, -1)
    writer.write(TOPIC, ACTION, CDR, 1)
    assert _stamps(writer.finish()) == [1]


def test_chunks_are_as_long_as_asked(tmp_path: Path) -> None:
    with (_write(tmp_path, 400) / 'e1_0.mcap').open('rb') as file:
        chunks = [record for record in StreamReader(file, emit_chunks=True).records if isinstance(record, Chunk)]
    assert len(chunks) > 5
    assert max(chunk.uncompressed_size for chunk in chunks) < 4096 + 2 * len(CDR)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:] = {path!r}
from mtopt_core.bag import BagWriter
from mtopt_core.message_types import ACTION
writer = BagWriter(Path({folder!r}), 'e1', {chunk})
for stamp in range({count}):
    writer.write('/robot1/action', ACTION, {cdr!r}, stamp)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_recorder_loses_at_most_one_chunk(tmp_path: Path) -> None:
    code = KILLED.format(path=sys.path, folder=str(tmp_path), chunk=4096, count=1000, cdr=CDR)
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == -signal.SIGKILL
    (partial,) = partial_bags(tmp_path)
    stamps = _stamps(salvage(partial))
    assert stamps == list(range(len(stamps)))
    assert (1000 - len(stamps)) * len(CDR) < 4096
    assert [path.name for path in tmp_path.iterdir()] == ['e1']


def test_a_bag_being_written_is_not_salvaged(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, 'e1')
    writer.write(TOPIC, ACTION, CDR, 1)
    with pytest.raises(BagBusyError, match='being written'):
        salvage(tmp_path / '.e1.partial')
    assert _stamps(writer.finish()) == [1]


def test_wherever_a_bag_is_cut_reading_says_so_and_salvage_keeps_every_whole_chunk(tmp_path: Path) -> None:
    whole = _write(tmp_path / 'whole', 120)
    data = (whole / 'e1_0.mcap').read_bytes()
    with (whole / 'e1_0.mcap').open('rb') as file:
        ends, kept = [], 0
        for record in StreamReader(file, emit_chunks=True).records:
            if isinstance(record, Chunk):
                kept += record.data.count(CDR)
                ends.append((data.index(record.data) + len(record.data), kept))
    for size in range(0, len(data), 211):
        folder = tmp_path / str(size)
        cut = _write(folder, 120)
        (cut / 'e1_0.mcap').write_bytes(data[:size])
        with pytest.raises(BagError):
            _stamps(cut)
        expected = max((count for end, count in ends if end <= size), default=0)
        if expected:
            assert _stamps(salvage(cut)) == list(range(expected))
            assert [path.name for path in folder.iterdir()] == ['e1']
        else:
            with pytest.raises(BagError, match='no whole chunk'):
                salvage(cut)
            assert (cut / 'e1_0.mcap').stat().st_size == size


def test_a_chunk_that_fails_its_checksum_is_an_error_and_costs_only_itself(tmp_path: Path) -> None:
    path = _write(tmp_path, 120)
    file = path / 'e1_0.mcap'
    data = bytearray(file.read_bytes())
    place = len(data) // 3
    data[data.index(CDR, place) + 20] ^= 1
    file.write_bytes(data)
    with pytest.raises(BagError, match='damaged'):
        _stamps(path)
    stamps = _stamps(salvage(path))
    assert stamps[0] == 0
    assert stamps[-1] == 119
    assert 0 < 120 - len(stamps) <= 4096 // len(CDR) + 1


def test_a_bag_without_its_index_says_what_makes_one(tmp_path: Path) -> None:
    path = _write(tmp_path, 10)
    file = path / 'e1_0.mcap'
    data = bytearray(file.read_bytes())
    data[-28:-20] = bytes(8)  # the footer says where the index starts, 0 for none
    file.write_bytes(data)
    with pytest.raises(BagError, match=r'no index; .* makes one'):
        _stamps(path)
    assert _stamps(salvage(path)) == list(range(10))


def test_salvage_keeps_types_and_quality_of_service(tmp_path: Path) -> None:
    path = _write(tmp_path, 50)
    with Reader(path) as bag:
        before = [(c.topic, c.msgtype, c.digest, c.msgdef, c.ext) for c in bag.connections]
    with Reader(salvage(_cut(path, 6000))) as bag:
        assert [(c.topic, c.msgtype, c.digest, c.msgdef, c.ext) for c in bag.connections] == before


def test_random_damage_never_raises_anything_else(tmp_path: Path) -> None:
    path = _write(tmp_path, 40)
    file = path / 'e1_0.mcap'
    data = file.read_bytes()
    for place in range(0, len(data), 37):
        spoiled = bytearray(data)
        spoiled[place] ^= 0xFF
        file.write_bytes(spoiled)
        with suppress(BagError):
            assert len(_stamps(path)) == 40


@pytest.mark.parametrize(
    ('content', 'says'), [(b'', 'e1'), (b'SQLite format 3\0' * 100, 'e1'), (b'\x89MCAP0\r\n' * 2, 'damaged')]
)
def test_a_file_that_is_no_bag_is_an_error(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / 'e1').mkdir()
    (tmp_path / 'e1' / 'e1_0.mcap').write_bytes(content)
    with pytest.raises(BagError, match=says):
        BagReader(tmp_path / 'e1')


def test_a_folder_without_a_file_or_no_folder_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / 'absent'):
        with pytest.raises(BagError, match='0 MCAP files'):
            BagReader(path)


def test_a_bag_set_aside_says_why_and_another_of_its_name_finds_room(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    places = []
    for reason in ('first', 'second'):
        places.append(set_aside(_write(data.bags, 1), reason))
        assert (places[-1] / 'reason.txt').read_text() == f'{reason}\n'
    assert len(set(places)) == 2
    assert {place.parent for place in places} == {data.set_aside}
    assert list(data.bags.iterdir()) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 256 kB."""
    with small_disk(tmp_path / 'disk', '256k') as folder:
        yield folder


def test_a_full_disk_is_named_and_what_was_recorded_is_kept(disk: Path) -> None:
    writer = BagWriter(disk, 'e1', 16384)
    with pytest.raises(DiskFullError, match=r'bag .*/e1 cannot be written: No space left .* \(0 MB free\)'):
        _fill(writer, 10_000)
    with pytest.raises(BagError, match='closed'):
        writer.finish()
    (partial,) = partial_bags(disk)
    with pytest.raises(DiskFullError):
        salvage(partial)
    subprocess.run(['mount', '-o', 'remount,size=1m', str(disk)], check=True)
    stamps = _stamps(salvage(partial))
    assert stamps == list(range(len(stamps)))
    assert len(stamps) > 2000


TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
sys.path[:] = {path!r}
from mtopt_core.bag import BagWriter
from mtopt_core.errors import BagError
from mtopt_core.message_types import ACTION
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer = BagWriter(Path({folder!r}), 'e1', 4096)
try:
    for stamp in range(10_000):
        writer.write('/robot1/action', ACTION, {cdr!r}, stamp)
except BagError as error:
    print(error)
"""


def test_a_write_the_system_refuses_keeps_what_was_recorded(tmp_path: Path) -> None:
    code = TOO_LARGE.format(path=sys.path, folder=str(tmp_path), cdr=CDR)
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert 'cannot be written: File too large' in done.stdout
    assert done.stderr == ''
    stamps = _stamps(salvage(tmp_path / '.e1.partial'))
    assert stamps == list(range(len(stamps)))
    assert len(stamps) > 800

"""Bags of one episode each: written so that a crash costs at most a chunk, read, salvaged, set aside."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from mtopt_core.errors import BagBusyError, BagError, BagUnreachableError, DiskFullError
from mtopt_core.mcap_file import MAGIC, McapFile
from mtopt_core.message_types import describe
from mtopt_core.paths import DataFolder
from mtopt_core.rosbag2_directory import Rosbag2Directory, Topic, sync_folder

CHUNK_SIZE = 65536


class BagWriter:
    """Writes one episode's bag of serialised messages.

    The bag grows as `.<id>.partial` and gets its name once it is complete and on the disk: a bag that can be seen is
    whole. After an error the partial bag stays for `salvage`.
    """

    def __init__(self, folder: Path, episode_id: str, chunk_size: int = CHUNK_SIZE) -> None:
        """Start a bag.

        Args:
            folder: Folder of the bags, made when missing.
            episode_id: Name of the bag.
            chunk_size: Bytes of a chunk; what is in an unfinished chunk is lost in a crash, see `flush`.

        Raises:
            BagError: The id cannot name a folder or is taken, or the folder cannot be written.
        """
        if not episode_id or Path(episode_id).name != episode_id or episode_id.startswith('.'):
            raise BagError(f'episode id {episode_id!r} cannot name a folder')
        self._folder = folder
        self._path = folder / episode_id
        self._channels: dict[str, int] = {}
        partial = partial_path(folder, episode_id)
        if self._path.exists() or partial.exists():
            raise BagError(f'{self._path} exists or is being written; episode ids are used once')
        try:
            self._directory = Rosbag2Directory(partial, episode_id, chunk_size)
        except OSError as error:
            raise _cannot_write(self._path, error) from None
        self._open = True

    def write(
        self, topic: str, type_name: str, cdr: bytes | memoryview, stamp_ns: int, *, latched: bool = False
    ) -> None:
        """Write one message.

        Args:
            topic: Absolute name of the topic.
            type_name: Message type, for instance `sensor_msgs/msg/JointState`.
            cdr: The serialised message.
            stamp_ns: When it was received, ns, not negative.
            latched: Whether late subscribers get the topic's last message; the first message of a topic decides.

        Raises:
            DiskFullError: There is no room left.
            BagError: The disk fails, the type is unknown, the stamp negative, or the bag closed.
        """
        self._check_open()
        if stamp_ns < 0:
            raise BagError(f'a message on {topic} has the negative stamp {stamp_ns} ns; is its clock set?')
        if topic not in self._channels:
            known = describe(type_name)
            self._channels[topic] = self._directory.add_topic(
                Topic.reliable(topic, type_name, known.definition, known.type_hash, latched)
            )
        self._do(lambda: self._directory.write(self._channels[topic], stamp_ns, cdr))

    def flush(self) -> None:
        """End the chunk that is being filled: a process that is killed from now on loses nothing written so far.

        Raises:
            DiskFullError: There is no room left.
            BagError: The disk fails, or the bag is closed.
        """
        self._check_open()
        self._do(self._directory.end_chunk)

    def finish(self) -> Path:
        """Complete the bag, sync it to the disk and give it its name.

        Returns:
            The bag.

        Raises:
            DiskFullError: There is no room left.
            BagError: Nothing was written, the disk fails, or the bag is closed.
        """
        self._check_open()
        if not self._channels:
            self.abandon()
            raise BagError(f'bag {self._path} got no message; nothing was kept')
        try:
            self._directory.finish()
            self._directory.path.rename(self._path)
            sync_folder(self._folder)
        except OSError as error:
            self._close()
            raise _cannot_write(self._path, error) from None
        self._open = False
        return self._path

    def abandon(self) -> None:
        """Throw the unfinished bag away."""
        self._close()
        shutil.rmtree(self._directory.path, ignore_errors=True)

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self._close()
            raise _cannot_write(self._path, error) from None

    def _close(self) -> None:
        self._open = False
        self._directory.close()

    def _check_open(self) -> None:
        if not self._open:
            raise BagError(f'bag {self._path} is closed')


def _cannot_write(path: Path, error: OSError) -> BagError:
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(existing).free / 1e6
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else BagError
    return kind(
        f'bag {path} cannot be written: {error.strerror} ({free:.0f} MB free). '
        'Make room; `mtopt bags salvage` keeps what was recorded'
    )


def partial_path(folder: Path, episode_id: str) -> Path:
    """Return where a bag lies while it is written."""
    return folder / f'.{episode_id}.partial'


def partial_bags(folder: Path) -> list[Path]:
    """Return the bags of a folder that are being written or were cut off."""
    return sorted(folder.glob('.*.partial'))


class BagMessage(NamedTuple):
    """One message of a bag.

    Attributes:
        topic: Absolute name of the topic.
        type_name: Message type.
        stamp: When it was recorded, ns.
        cdr: The serialised message.
    """

    topic: str
    type_name: str
    stamp: int
    cdr: bytes


class BagReader:
    """Reads a complete bag; a context manager.

    Attributes:
        path: The bag.
        topics: Message type by absolute topic name.
    """

    def __init__(self, path: Path) -> None:
        """Open a bag.

        Args:
            path: The bag's directory.

        Raises:
            BagUnreachableError: It cannot be read now: no permission, a server that does not answer.
            BagError: The bag is missing, truncated or damaged.
        """
        self.path = path
        file_path = _bag_file(path)
        try:
            with file_path.open('rb') as file:
                self._data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except OSError as error:
            raise _unreachable(file_path, error) from None
        except ValueError as error:
            raise _damaged(path, error) from None
        try:
            self._file = self._opened()
        except Exception as error:
            self._data.close()
            raise _damaged(path, error) from None
        self.topics = {channel.topic: channel.type_name for channel in self._file.channels.values()}

    def _opened(self) -> McapFile:
        if self._data[-len(MAGIC) :] != MAGIC:
            raise BagError(f'bag {self.path} is truncated; `mtopt bags salvage` keeps what is whole')
        file = McapFile(self._data)
        if not file.has_index:
            raise BagError(f'bag {self.path} has no index; `mtopt bags salvage` makes one')
        return file

    @property
    def chunks(self) -> int:
        """How many chunks its messages are in."""
        return self._file.chunks

    def messages(self, topics: Collection[str], first_chunk: int = 0) -> Iterator[BagMessage]:
        """Yield the messages of some topics in the order of their stamps.

        Args:
            topics: Absolute names.
            first_chunk: Chunks before this one are not read.

        Raises:
            BagError: The bag is damaged, as far as it was read.
        """
        channels = self._file.channels
        numbers = {number for number, channel in channels.items() if channel.topic in topics}
        try:
            messages = self._file.messages(numbers, first_chunk)
        except Exception as error:
            raise _damaged(self.path, error) from None
        for message in messages:
            yield BagMessage(*channels[message.channel], message.log_time, message.data)

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()


def _damaged(path: Path, error: Exception) -> BagError:
    """Return the error for damaged bytes, on which the parser fails in any of a dozen ways."""
    if isinstance(error, BagError):
        return error
    return BagError(
        f'bag {path} is damaged ({type(error).__name__}: {error}); `mtopt bags salvage` keeps what is whole'
    )


def _unreachable(path: Path, error: OSError) -> BagUnreachableError:
    return BagUnreachableError(
        f'{path} cannot be read now: {error.strerror}; see to its disk, its server or its permissions. It stays there'
    )


def _bag_file(path: Path) -> Path:
    try:
        # A glob takes as long as all the rest of opening a bag.
        files = [entry.name for entry in os.scandir(path) if entry.name.endswith('.mcap')]
    except (FileNotFoundError, NotADirectoryError):
        files = []
    except OSError as error:
        raise _unreachable(path, error) from None
    if len(files) != 1:
        raise BagError(f'{path} is no bag of one episode: it holds {len(files)} MCAP files, expected one')
    return path / files[0]


def salvage(path: Path) -> Path:
    """Make a bag of every whole chunk of one that was cut off or damaged.

    Args:
        path: A `.<id>.partial` directory, or a damaged bag; the bag made of it takes its place.

    Returns:
        The bag, `<id>` in the same folder.

    Raises:
        BagBusyError: The bag is being written.
        DiskFullError: There is no room for the bag made of it.
        BagError: It holds no whole chunk. `path` is left as it was in all three cases.
    """
    file_path = _bag_file(path)
    episode_id = file_path.stem.removesuffix('_0')
    target = path.parent / episode_id
    if target.exists() and target != path:
        raise BagError(f'{target} exists already; remove {path} if it is the same episode')
    repaired = path / 'salvaged'
    with file_path.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagBusyError(f'{path} is being written; wait for its recorder or stop it') from None
        topics, messages = _whole_chunks(file)
        if not messages:
            raise BagError(f'{path} holds no whole chunk; nothing can be salvaged')
        shutil.rmtree(repaired, ignore_errors=True)
        try:
            _write_repaired(repaired, episode_id, topics, messages)
            remains = path.rename(partial_path(path.parent, episode_id))
            (remains / repaired.name).rename(target)
            sync_folder(target.parent)
        except OSError as error:
            shutil.rmtree(repaired, ignore_errors=True)
            raise _cannot_write(target, error) from None
    shutil.rmtree(remains)
    return target


def _whole_chunks(file: BinaryIO) -> tuple[dict[int, Topic], list[Message]]:
    """Return the topics and messages of every chunk that is complete and passes its checksum."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    messages: list[Message] = []

    def keep(records: Iterable[McapRecord]) -> None:
        for record in records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                messages.append(record)

    # The stream ends in whatever error the damage causes. A chunk that fails its checksum alone is passed over.
    with suppress(Exception):
        for record in StreamReader(file, emit_chunks=True).records:
            if isinstance(record, Chunk):
                with suppress(Exception):
                    keep(breakup_chunk(record, validate_crc=True))
            else:
                keep([record])
    topics = {
        number: Topic(channel.topic, schemas[channel.schema_id].name, schemas[channel.schema_id].data, channel.metadata)
        for number, channel in channels.items()
        if channel.schema_id in schemas
    }
    return topics, [message for message in messages if message.channel_id in topics]


def _write_repaired(path: Path, episode_id: str, topics: dict[int, Topic], messages: list[Message]) -> None:
    directory = Rosbag2Directory(path, episode_id, CHUNK_SIZE)
    try:
        channels = {number: directory.add_topic(topic) for number, topic in topics.items()}
        for message in messages:
            directory.write(channels[message.channel_id], message.log_time, message.data)
        directory.finish()
    finally:
        directory.close()


def set_aside(path: Path, reason: str) -> Path:
    """Move a bag that cannot be used to the data folder's `set_aside`, with the reason in `reason.txt`.

    Args:
        path: A bag, complete or not, in the `bags` of a data folder.
        reason: Why, for the person who finds it.

    Returns:
        Where it lies now.

    Raises:
        FileNotFoundError: There is no such bag.
    """
    folder = DataFolder(path.parent.parent).set_aside
    folder.mkdir(parents=True, exist_ok=True)
    name = path.name.removeprefix('.').removesuffix('.partial')
    names = itertools.chain([name], (f'{name}.{number}' for number in itertools.count(1)))
    target = next(folder / free for free in names if not (folder / free).exists())
    path.rename(target)
    (target / 'reason.txt').write_text(reason + '\n')
    return target

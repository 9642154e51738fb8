"""Message classes made at run time from a descriptor set: no generated code, no conflict of protobuf versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from mtopt_sim.gazebo.errors import TransportError


class Messages:
    """The message types of one descriptor set.

    Args:
        path: The descriptor set.
        package: Protobuf package whose types are meant by a bare name.

    Raises:
        TransportError: It cannot be read.
    """

    def __init__(self, path: Path, package: str) -> None:
        self._package = package
        self._pool = descriptor_pool.DescriptorPool()
        self._types: dict[str, Any] = {}
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        except (OSError, DecodeError) as error:
            raise TransportError(
                f'the message definitions {path} cannot be read ({error}); remove its Debian tree and run '
                '`make gazebo-root` again'
            ) from None
        self._add_in_order({file.name: file for file in files.file})

    def _add_in_order(self, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
        """Add every file after those it imports."""
        while files:
            name, file = next(iter(files.items()))
            missing = [needed for needed in file.dependency if needed in files]
            while missing:
                name = missing[0]
                file = files[name]
                missing = [needed for needed in file.dependency if needed in files]
            self._pool.AddSerializedFile(file.SerializeToString())
            del files[name]

    def type(self, name: str) -> Any:
        """Return the class of a message type.

        Raises:
            TransportError: There is no such type: the definitions are of a version this does not know.
        """
        if name not in self._types:
            try:
                descriptor = self._pool.FindMessageTypeByName(f'{self._package}.{name}')
            except KeyError:
                raise TransportError(f'there is no message type {self._package}.{name} in this version') from None
            self._types[name] = message_factory.GetMessageClass(descriptor)
        return self._types[name]

    def new(self, name: str, /, **fields: Any) -> Any:
        """Return a message of a type."""
        return self.type(name)(**fields)

    def parse(self, name: str, data: bytes) -> Any:
        """Return a message from its bytes.

        Raises:
            TransportError: The bytes are no such message.
        """
        try:
            return self.type(name).FromString(data)
        except DecodeError:
            raise TransportError(f'{len(data)} bytes are no {self._package}.{name}') from None

"""Frames and messages of Gazebo's transport, without Gazebo."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import zmq
from google.protobuf import descriptor_pb2

from mtopt_sim.gazebo import zmtp
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.framing import LARGEST, Frames, framed
from mtopt_sim.gazebo.messages import Messages


def test_frames_come_out_whole_however_the_bytes_arrive():
    payloads = [b'', b'a', bytes(range(256)) * 5]
    stream = b''.join(map(framed, payloads))
    rng = np.random.default_rng(0)
    for _ in range(20):
        frames, left, seen = Frames(), stream, []
        while left:
            count = int(rng.integers(1, 40))
            seen += frames.feed(left[:count])
            left = left[count:]
        assert seen == payloads


def test_a_header_is_eight_characters_padded_with_spaces():
    assert framed(b'x' * 31) == b'      1f' + b'x' * 31


@pytest.mark.parametrize('header', [b'HTTP/1.1', b'-0000001', b'%8x' % (LARGEST + 1)])
def test_what_is_no_frame_is_refused(header):
    with pytest.raises(TransportError, match='no length'):
        list(Frames().feed(header + b'abc'))


@pytest.fixture
def messages(tmp_path):
    """Definitions in two files, the importing one first."""
    files = descriptor_pb2.FileDescriptorSet()
    user = files.file.add(name='b.proto', package='demo', syntax='proto2', dependency=['a.proto'])
    outer = user.message_type.add(name='Outer')
    outer.field.add(name='inner', number=1, type=11, label=2, type_name='.demo.Inner')
    used = files.file.add(name='a.proto', package='demo', syntax='proto2')
    used.message_type.add(name='Inner').field.add(name='size', number=1, type=5, label=1)
    path = tmp_path / 'demo.desc'
    path.write_bytes(files.SerializeToString())
    return Messages(path, 'demo')


def test_messages_are_made_and_read_without_generated_code(messages):
    outer = messages.new('Outer')
    outer.inner.size = 7
    assert messages.parse('Outer', outer.SerializeToString()).inner.size == 7


def test_unknown_types_and_damaged_messages_are_named(messages, tmp_path):
    with pytest.raises(TransportError, match=r'no message type demo\.Other'):
        messages.new('Other')
    with pytest.raises(TransportError, match=r'3 bytes are no demo\.Outer'):
        messages.parse('Outer', b'\x0f\xff\xff')
    with pytest.raises(TransportError, match='cannot be read'):
        Messages(tmp_path / 'missing.desc', 'demo')
    (tmp_path / 'torn.desc').write_bytes(b'\xff\xff\xff')
    with pytest.raises(TransportError, match='make gazebo-root'):
        Messages(tmp_path / 'torn.desc', 'demo')


def test_zeromq_hears_what_is_spoken_to_it_by_hand():
    messages = [[b'topic', b'', b'x' * 255], [b'y' * 256], [b'z' * 70_000, b'end']]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port('tcp://127.0.0.1')
        with socket.create_connection(('127.0.0.1', port)) as connection:
            connection.settimeout(10)
            zmtp.introduce(connection, 'DEALER')
            connection.sendall(b''.join(map(zmtp.message, messages)))
            for message in messages:
                assert router.poll(10_000)
                assert router.recv_multipart()[1:] == message


@pytest.mark.parametrize('answer', [b'HTTP/1.1 400 Bad Request\r\n'.ljust(64), b''])
def test_whoever_does_not_speak_zeromq_is_named(answer):
    with socket.create_server(('127.0.0.1', 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        with theirs:
            theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(OSError, match=r'no greeting of ZMTP 3|connection was closed'):
                zmtp.introduce(ours, 'DEALER')

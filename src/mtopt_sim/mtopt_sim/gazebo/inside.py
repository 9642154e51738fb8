"""Runs inside the network of Gazebo's server: starts the server and opens sockets for those outside.

Started by `server.py` under `unshare`, by its path and with the standard library alone. Gazebo listens on every
address whatever it is told, so it gets a network in which there is only a loopback. A socket belongs to the network it
was made in: this process makes those that are asked for and hands them out (`SCM_RIGHTS`), so that whoever talks to
Gazebo stays in the network where the rest of the graph is. When the one who started it is gone, everything here ends.

The first line on the socket that is standard input holds the world's files, by the path they have in their folder;
they lie in a file system of this process' own, of which nothing stays. Each further line is a request, each answer a
line with a socket or an `error`; all are JSON. What the server prints goes to an open file whose number is an argument.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 (looking up an address imports it, which fails after chroot)
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

RUN = Path('/tmp/mtopt')  # noqa: S108
DISPLAY = ':1'
LOOPBACK = '127.0.0.1'
PARTITION = 'mtopt'
MASTER_PORT = 11345
DISPLAY_TIMEOUT = 20.0
SET_FLAGS, UP = 0x8914, 0x1


def raise_loopback() -> None:
    """Bring up the only interface of a new network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SET_FLAGS, struct.pack('16sh22x', b'lo', UP))


def enter(root: Path) -> None:
    """Make the Debian tree at `root` the whole file system, with an empty folder for what is temporary."""
    for command in (
        ('mount', '--rbind', '/dev', root / 'dev'),
        ('mount', '-t', 'proc', 'proc', root / 'proc'),
        ('mount', '-t', 'tmpfs', 'tmpfs', root / 'tmp'),
    ):
        subprocess.run([str(part) for part in command], check=True)
    os.chroot(root)
    os.chdir('/')


def write_files(files: dict[str, str]) -> None:
    """Write the world's files where the server looks for them."""
    for name, content in files.items():
        path = RUN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def start_display(log: int) -> subprocess.Popen[bytes]:
    """Start the X server that Gazebo's cameras render with, and wait until it listens."""
    process = subprocess.Popen(
        ['Xvfb', DISPLAY, '-screen', '0', '640x480x24', '-nolisten', 'tcp', '-noreset'],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )  # fmt: skip
    deadline = time.monotonic() + DISPLAY_TIMEOUT
    while not Path(f'/tmp/.X11-unix/X{DISPLAY[1:]}').exists():  # noqa: S108
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(f'the X server did not start (status {process.poll()})')
        time.sleep(0.02)
    return process


def start_server(world: str, with_display: bool, log: int) -> subprocess.Popen[bytes]:
    """Start Gazebo's server, paused."""
    environment = {
        'PATH': os.defpath,
        'HOME': '/tmp',  # noqa: S108
        'USER': 'root',
        'LC_ALL': 'C.UTF-8',
        'GAZEBO_IP': LOOPBACK,
        'IGN_IP': LOOPBACK,
        'IGN_PARTITION': PARTITION,
        'LIBGL_ALWAYS_SOFTWARE': '1',
        **({'DISPLAY': DISPLAY} if with_display else {}),
    }
    settings = {
        'GAZEBO_MASTER_URI': f'http://{LOOPBACK}:{MASTER_PORT}',
        'GAZEBO_MODEL_DATABASE_URI': '',
        'GAZEBO_MODEL_PATH': f'{RUN}/models',
    }
    # After setup.sh, which has its own ideas about these.
    exports = ' '.join(f'{name}={value}' for name, value in settings.items())
    script = f'. /usr/share/gazebo/setup.sh; export {exports}; exec gzserver --verbose -u --lockstep "$0"'
    return subprocess.Popen(
        ['/bin/sh', '-c', script, str(RUN / world)],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
    )  # fmt: skip


def open_socket(request: dict[str, str | int]) -> socket.socket:
    """Make a socket of this network: connected, listening, or for sending to a multicast group or hearing one."""
    if request['do'] == 'connect':
        return socket.create_connection((LOOPBACK, int(request['port'])), timeout=2.0)
    if request['do'] == 'listen':
        return socket.create_server((LOOPBACK, 0))
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    if request['do'] == 'join':
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        group = str(request['group'])
        made.bind((group, int(request['port'])))
        made.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(LOOPBACK)
        )
    return made


def serve(control: socket.socket, requests: Iterable[bytes], server: subprocess.Popen[bytes]) -> None:
    """Answer requests until the other side is gone."""
    for line in requests:
        request = json.loads(line)
        status = server.poll()
        try:
            if status is not None:
                raise OSError(f"Gazebo's server ended with status {status}")
            if request['do'] == 'status':
                control.sendall(b'{}\n')
            else:
                with open_socket(request) as made:
                    made.setblocking(True)
                    socket.send_fds(control, [b'{}\n'], [made.fileno()])
        except OSError as error:
            control.sendall(json.dumps({'error': str(error)}).encode() + b'\n')


def main() -> None:
    """Run a server: arguments are the Debian tree, the world's file, the number of the log, and `no-display`."""
    root, world, log_number, *rest = sys.argv[1:]
    log = int(log_number)
    control = socket.socket(fileno=0)
    requests = control.makefile('rb')
    children = []
    try:
        raise_loopback()
        enter(Path(root))
        write_files(json.loads(requests.readline()))
        if not rest:
            children.append(start_display(log))
        children.append(start_server(world, not rest, log))
        control.sendall(b'{}\n')
        serve(control, requests, children[-1])
    except (OSError, subprocess.CalledProcessError) as error:
        control.sendall(json.dumps({'error': str(error)}).encode() + b'\n')
    finally:
        for child in reversed(children):
            child.terminate()
        for child in reversed(children):
            try:
                child.wait(3)
            except subprocess.TimeoutExpired:
                child.kill()


if __name__ == '__main__':
    main()

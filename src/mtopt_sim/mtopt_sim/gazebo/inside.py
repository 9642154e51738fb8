"""Runs inside the network of Gazebo's server: starts the server and opens sockets for those outside.

Started by `server.py` under `unshare`, by its path and with the standard library alone. Gazebo listens on every
address whatever it is told, so it gets a network in which there is only a loopback. A socket belongs to the network it
was made in: this process makes those that are asked for and hands them out (`SCM_RIGHTS`), so that whoever talks to
Gazebo stays in the network where the rest of the graph is. When the one who started it is gone, everything here ends.

Each request is a line of JSON on the socket that is standard input, each answer a line with a socket or an `error`.
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
from pathlib import Path

RUN = Path('/run/mtopt')
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


def enter(root: Path, run: Path) -> None:
    """Make the Debian tree at `root` the whole file system, with the folder `run` in it."""
    inside = root / RUN.relative_to('/')
    inside.mkdir(parents=True, exist_ok=True)
    for command in (
        ('mount', '--rbind', '/dev', root / 'dev'),
        ('mount', '-t', 'proc', 'proc', root / 'proc'),
        ('mount', '--bind', run, inside),
        # Last: on a machine whose own Gazebo runs, this hides what is in /tmp, where the server's folder may be.
        ('mount', '-t', 'tmpfs', 'tmpfs', root / 'tmp'),
    ):
        subprocess.run([str(part) for part in command], check=True)
    os.chroot(root)
    os.chdir('/')


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
    """Make a socket of this network: connected, listening, or for sending to a multicast group."""
    if request['do'] == 'connect':
        return socket.create_connection((LOOPBACK, int(request['port'])), timeout=2.0)
    if request['do'] == 'listen':
        return socket.create_server((LOOPBACK, 0))
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    return made


def serve(control: socket.socket, server: subprocess.Popen[bytes]) -> None:
    """Answer requests until the other side is gone."""
    lines = control.makefile('rb')
    for line in lines:
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
    """Run a server: arguments are the Debian tree, the folder with the world, the world's name, and `no-display`."""
    root, run, world, *rest = sys.argv[1:]
    control = socket.socket(fileno=0)
    children = []
    try:
        raise_loopback()
        enter(Path(root), Path(run))
        log = os.open(RUN / 'server.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if not rest:
            children.append(start_display(log))
        children.append(start_server(world, not rest, log))
        control.sendall(b'{}\n')
        serve(control, children[-1])
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

"""Machines of their own: network, shared memory and mounts apart, joined by a road that delays and loses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROAD = Path(__file__).with_name('road.py')


def ran(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Machine:
    """One machine.

    Args:
        folder: Its own folder.
        hidden: The others' folders, which it does not see.
    """

    def __init__(self, folder: Path, hidden: Sequence[Path]) -> None:
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.holder = subprocess.Popen(['unshare', '--net', '--ipc', '--mount', 'sleep', 'infinity'])
        while Path(f'/proc/{self.holder.pid}/ns/net').readlink() == Path('/proc/self/ns/net').readlink():
            pass
        self.run('ip', 'link', 'set', 'lo', 'up')
        # As on another machine: nothing of ours in shared memory, and the others' files out of reach.
        for place in (Path('/dev/shm'), *hidden):
            self.run('mount', '-t', 'tmpfs', 'tmpfs', str(place))

    def within(self, *command: str) -> list[str]:
        return ['nsenter', '--target', str(self.holder.pid), '--net', '--ipc', '--mount', *command]

    def run(self, *command: str) -> str:
        return ran(*self.within(*command))

    def start(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f'{name}.log').open('wb') as log:
            process = subprocess.Popen(
                self.within(*command), env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
            )
        self._processes[name] = process
        return process

    def ended(self) -> list[str]:
        """Return what the processes that are no more said last."""
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        return [f'{name} ended:\n{(self.folder / f"{name}.log").read_text()[-2000:]}' for name in ended]

    def connect(self, interface: str, address: str) -> None:
        self.run('ip', 'address', 'add', f'{address}/24', 'dev', interface)
        self.run('ip', 'link', 'set', interface, 'up')
        script = f'import road; road.disable_offloads({interface!r})'
        self.run('env', f'PYTHONPATH={ROAD.parent}', sys.executable, '-c', script)

    def counters(self, interface: str) -> dict[str, int]:
        """Return what an interface has received and sent, bytes."""
        folder = f'/sys/class/net/{interface}/statistics'
        # /sys shows the interfaces of whoever mounted it.
        script = f'mount -t sysfs sysfs /sys && cat {folder}/rx_bytes {folder}/tx_bytes && umount /sys'
        received, sent = self.run('sh', '-c', script).split()
        return {'received': int(received), 'sent': int(sent)}

    def close(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.holder.kill()
        self.holder.wait()


class Road:
    """Joins two machines: `east` of the first and `west` of the second are the ends of it."""

    def __init__(self, folder: Path, first: Machine, second: Machine, delay: float, loss: float) -> None:
        self._middle = Machine(folder, ())
        for machine, end, outer in ((first, 'road0', 'east'), (second, 'road1', 'west')):
            inside = ('ip', 'link', 'add', end, 'type', 'veth', 'peer', 'name', outer, 'netns', str(machine.holder.pid))
            self._middle.run(*inside)
            self._middle.run('ip', 'link', 'set', end, 'up')
        first.connect('east', '10.77.0.1')
        second.connect('west', '10.77.0.2')
        self._middle.start('road', sys.executable, str(ROAD), 'road0', 'road1', str(delay), str(loss))

    def cut(self) -> None:
        self._middle.run('ip', 'link', 'set', 'road0', 'down')

    def mend(self) -> None:
        self._middle.run('ip', 'link', 'set', 'road0', 'up')

    def close(self) -> None:
        self._middle.close()

"""The environment of every process that talks ROS: DDS stays on this machine and whole images fit.

With other machines it talks only where `MTOPT_PEERS` names them (addresses or host names, separated by commas): then
without shared memory, without multicast, and to those machines alone.

`prepare` sets it from within, before ROS is initialised; `python -m mtopt_core.environment` prints it for a shell.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import time
from contextlib import suppress
from pathlib import Path

from mtopt_core.paths import shipped

SHARED_MEMORY = Path('/dev/shm')  # noqa: S108 (the one place where Fast DDS keeps its segments)

# A process makes its lock file before it locks it: one younger than this may belong to a process just starting.
_MINIMUM_AGE = 10.0
_PORT = 'fastrtps_port'
_LOCK = re.compile(r'(?P<segment>fastrtps_(?:[0-9a-z]{16}|port[0-9]+))_(?:el|sl)')


PEERS_ENVIRONMENT_VARIABLE = 'MTOPT_PEERS'


def peers() -> tuple[str, ...]:
    """Return the other machines that this one talks to; usually none."""
    return tuple(name.strip() for name in os.environ.get(PEERS_ENVIRONMENT_VARIABLE, '').split(',') if name.strip())


def variables() -> dict[str, str]:
    """Return the environment variables mtopt wants, by name.

    Raises:
        ConfigurationError: The Fast DDS profile was not shipped.
    """
    others = peers()
    named = {'ROS_STATIC_PEERS': ';'.join(others)} if others else {}
    return {
        **named,
        # What is found beyond this machine is found by name alone.
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        # The name Jazzy's Fast DDS 2 reads; FASTDDS_DEFAULT_PROFILES_FILE is that of Fast DDS 3 and ignored here.
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(shipped('config', 'fastdds_remote.xml' if others else 'fastdds.xml')),
    }


def prepare() -> None:
    """Set the variables the user has not set, and remove what killed processes left in shared memory.

    Must run before `rclpy.init`; child processes inherit the result.

    Raises:
        ConfigurationError: The Fast DDS profile was not shipped.
    """
    for name, value in variables().items():
        os.environ.setdefault(name, value)
    remove_stale_segments()


def remove_stale_segments(folder: Path = SHARED_MEMORY, minimum_age: float = _MINIMUM_AGE) -> int:
    """Remove Fast DDS segments whose processes are gone, as `fastdds shm clean` does; return how many.

    A living process holds a lock on its segment's lock file, also one of another user or graph: those stay. So do the
    ports of dead processes that somebody has mapped: a node that is started again gets the same port, and who has sent
    to the one before goes on writing into the file it knows. Fast DDS renews such a port in a way that senders notice.

    Args:
        folder: Where the segments lie.
        minimum_age: s; younger lock files are left alone.
    """
    locks: dict[str, list[Path]] = {}
    for path in folder.glob('fastrtps_*'):
        if match := _LOCK.fullmatch(path.name):
            locks.setdefault(match['segment'], []).append(path)
    mapped = _mapped(folder) if any(segment.startswith(_PORT) for segment in locks) else set()
    locks = {segment: paths for segment, paths in locks.items() if segment not in mapped}
    return sum(_remove_if_stale(folder, segment, paths, minimum_age) for segment, paths in locks.items())


def _mapped(folder: Path) -> set[str]:
    """Return the ports that some process has mapped, by name."""
    pattern = re.compile(re.escape(f'{folder}/') + f'({_PORT}[0-9]+)')
    found: set[str] = set()
    for maps in Path('/proc').glob('[0-9]*/maps'):
        with suppress(OSError):  # ended meanwhile, or another user's
            found.update(pattern.findall(maps.read_text()))
    return found


def _remove_if_stale(folder: Path, segment: str, locks: list[Path], minimum_age: float) -> bool:
    held = []
    try:
        for path in locks:
            descriptor = os.open(path, os.O_RDONLY)
            held.append(descriptor)
            if time.time() - os.fstat(descriptor).st_ctime < minimum_age:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The locks go last and while they are held, so that nobody can open the segment in between.
        for path in (folder / segment, folder / f'sem.{segment}_mutex', *locks):
            path.unlink(missing_ok=True)
    except OSError:  # in use, another user's, or removed by another process in this moment
        return False
    else:
        return True
    finally:
        for descriptor in held:
            os.close(descriptor)


if __name__ == '__main__':
    for variable, wanted in variables().items():
        print(f'export {variable}={shlex.quote(os.environ.get(variable, wanted))}')

"""What Fast DDS keeps in shared memory, and what killed and frozen processes leave behind there."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SHARED_MEMORY = Path('/dev/shm')  # noqa: S108 (the one place where Fast DDS keeps its segments)

# A process makes its lock file before it locks it: one younger than this may belong to a process just starting.
_MINIMUM_AGE = 10.0
_PORT = 'fastrtps_port'
_PORT_FILE = re.compile(f'{_PORT}[0-9]+')
_LOCK = re.compile(r'(?P<segment>fastrtps_(?:[0-9a-z]{16}|port[0-9]+))_(?:el|sl)')


@contextmanager
def dead_ports_held(folder: Path = SHARED_MEMORY) -> Iterator[None]:
    """Keep a participant that is made meanwhile from the ports of dead ones that somebody still has mapped.

    Where a process freezes, those that send to it make the file of its port anew; when they let go of that one, Fast
    DDS removes the file of its name, by then perhaps the one of the frozen process's successor. The successor would
    hear nobody for as long as it lives. While this holds the locks of the dead, their ports look taken, and Fast DDS
    goes on to the next number that is free.

    Args:
        folder: Where the ports lie.
    """
    exclusive = [port for port in _mapped(folder) if not (folder / f'{port}_sl').exists()]
    locks = [lock for port in exclusive if (lock := _lock(folder / f'{port}_el'))]
    try:
        yield
    finally:
        for lock in locks:
            Path(lock.name).unlink(missing_ok=True)
            lock.close()


def _lock(path: Path) -> BinaryIO | None:
    """Return a locked file, made where there is none; none where somebody holds the lock, or it is another user's."""
    with suppress(OSError), ExitStack() as opened:
        file = opened.enter_context(path.open('ab'))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        opened.pop_all()
        return file
    return None


def remove_stale_segments(folder: Path = SHARED_MEMORY, minimum_age: float = _MINIMUM_AGE) -> int:
    """Remove Fast DDS segments whose processes are gone, as `fastdds shm clean` does; return how many.

    A living process holds a lock on its segment's lock file, also one of another user or graph: those stay. So do the
    ports of dead processes that somebody has mapped, which shows whoever starts next that they are not to be taken.

    Ports without a lock file go as well, which `fastdds shm clean` does not see: those that somebody made anew to send
    to a process that had just gone. Fast DDS counts who has such a port open, and a killed one never signs off.

    Args:
        folder: Where the segments lie.
        minimum_age: s; younger lock files, and ports without one, are left alone.
    """
    locks: dict[str, list[Path]] = {}
    for path in sorted(folder.glob('fastrtps_*'), reverse=True):  # locks before their ports
        if match := _LOCK.fullmatch(path.name):
            locks.setdefault(match['segment'], []).append(path)
        elif _PORT_FILE.fullmatch(path.name):
            locks.setdefault(path.name, [path.with_name(f'{path.name}_el')])
    locks = _unmapped(locks, folder)
    with ExitStack() as opened:
        dead = {
            segment: paths for segment, paths in locks.items() if _locked(folder / segment, paths, minimum_age, opened)
        }
        # Once more while the locks are held, so that nobody has taken a port in between. The locks go last.
        return sum(
            _unlinked(folder / segment, folder / f'sem.{segment}_mutex', *paths)
            for segment, paths in _unmapped(dead, folder).items()
        )


def _unmapped(locks: dict[str, list[Path]], folder: Path) -> dict[str, list[Path]]:
    """Return all segments but the ports that some process has mapped."""
    mapped = _mapped(folder) if any(segment.startswith(_PORT) for segment in locks) else set()
    return {segment: paths for segment, paths in locks.items() if segment not in mapped}


def _mapped(folder: Path) -> set[str]:
    """Return the ports that some process has mapped, by name."""
    device = folder.stat().st_dev  # a container's file of that name is another one
    place = f'{os.major(device):02x}:{os.minor(device):02x} [0-9]+ +' + re.escape(f'{folder}/')
    pattern = re.compile(f'{place}({_PORT}[0-9]+)')
    found: set[str] = set()
    for maps in Path('/proc').glob('[0-9]*/maps'):
        with suppress(OSError):  # ended meanwhile, or another user's
            found.update(pattern.findall(maps.read_text()))
    return found


def _locked(segment: Path, locks: list[Path], minimum_age: float, opened: ExitStack) -> bool:
    """Lock a segment for as long as a context lasts; return whether it is old enough and nobody else has locked it."""
    files = [path for path in locks if path.exists()] or [segment]
    try:
        if any(time.time() - path.stat().st_ctime < minimum_age for path in files):
            return False
    except OSError:  # removed by another process in this moment
        return False
    for path in locks:
        if (file := _lock(path)) is None:
            return False
        opened.callback(file.close)
    return True


def _unlinked(*paths: Path) -> bool:
    """Remove files; return whether none of them is another user's."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True

"""Child processes that end with the process that started them, however it ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

# Asks a node to print what each of its threads is doing.
SHOW_STACKS = signal.SIGUSR1

_SET_PARENT_DEATH_SIGNAL = 1


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Let the kernel send this process a signal when its parent is gone, killed by whatever signal.

    One whose parent is gone already ends here. For `preexec_fn` of `subprocess.Popen`, whose arguments it takes by
    `functools.partial`.

    Args:
        parent: The parent's process id, as the parent said it.
        number: The signal.
    """
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, number)
    if os.getppid() != parent:
        os._exit(1)


def worker_pool(workers: int, initializer: Callable[..., None] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """Return a pool of processes that leave Ctrl-C to their parent and are killed when it is.

    Args:
        workers: How many.
        initializer: Called in each of them first.
        arguments: Of it.
    """
    # Forked children of a process with threads (torch, ROS, OpenGL) can hang; spawned ones cannot.
    context = multiprocessing.get_context('spawn')
    return ProcessPoolExecutor(
        workers,
        context,
        initializer=_start_worker,
        initargs=(os.getpid(), partial(initializer or _nothing, *arguments)),
    )


def _start_worker(parent: int, initializer: Callable[[], None]) -> None:
    # A pool's processes hold both ends of its pipes: without their parent they would wait for work for ever.
    die_with_parent(parent, signal.SIGKILL)
    # Ctrl-C goes to every process of the terminal; the one that hands out work decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    initializer()


def _nothing() -> None:
    pass

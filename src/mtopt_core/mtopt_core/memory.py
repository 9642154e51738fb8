"""How the C library deals with freed memory."""

from __future__ import annotations

import ctypes

# malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have large blocks of memory reused within this process instead of given back to the kernel.

    A gradient step frees the hundreds of megabytes it has allocated, and the next needs them again. By default the
    kernel takes many of them in between and clears every page it hands out: 7 to 14 ms of a step of 200 ms. Does
    nothing with C libraries other than glibc.
    """
    set_option = getattr(ctypes.CDLL(None), 'mallopt', None)
    if set_option is not None:
        set_option(_TRIM_THRESHOLD, 2**31 - 1)
        # The largest that glibc accepts.
        set_option(_MMAP_THRESHOLD, 2**25)

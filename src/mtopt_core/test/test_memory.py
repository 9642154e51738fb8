from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: the option cannot be taken back.
ROUNDS = """
import ctypes
import resource
from mtopt_core.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def page_faults():
    '''Return the page faults of allocating, writing and freeing 128 MB.'''
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(2**23) for _ in range(16)]
    for block in blocks:
        ctypes.memset(block, 1, 2**23)
    for block in blocks:
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

by_default = [page_faults() for _ in range(4)]
keep_freed_memory()
kept = [page_faults() for _ in range(4)]
print(by_default[-1], kept[-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries have no such option')
def test_freed_memory_is_used_again_without_asking_the_kernel():
    done = subprocess.run([sys.executable, '-c', ROUNDS], check=True, capture_output=True, text=True)
    by_default, kept = map(int, done.stdout.split())
    assert by_default > 10_000
    assert kept < 100

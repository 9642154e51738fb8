from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Faults of rounds that allocate, write and free 128 MB, as a gradient step does.
ROUNDS = """
import resource
import torch
from mtopt_core.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        blocks = [torch.ones(2**22) for _ in range(8)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

by_default = faults()
keep_freed_memory()
faults()
print(by_default, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries have no such option')
def test_freed_memory_is_used_again_without_asking_the_kernel():
    done = subprocess.run([sys.executable, '-c', ROUNDS], check=True, capture_output=True, text=True)
    by_default, kept = map(int, done.stdout.split())
    assert by_default > 1000
    assert kept < by_default / 50

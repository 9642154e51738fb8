"""A process whose parent is gone, or goes, does not stay."""

import os
import signal
import subprocess
import sys

CHILD = """
import os, signal, sys, time
from mtopt_core.child_processes import die_with_parent
die_with_parent({parent}, signal.SIGTERM)
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {child!r}])
time.sleep(60)
"""


def test_a_process_ends_with_a_parent_that_is_killed():
    child = CHILD.format(parent='os.getppid()')
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT.format(child=child)], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    )
    assert parent.stdout.readline()
    parent.kill()
    assert parent.communicate(timeout=20) == ('', '')  # the child held these pipes, too


def test_a_process_whose_parent_was_gone_before_it_asked_ends_at_once():
    child = subprocess.run(
        [sys.executable, '-c', CHILD.format(parent=os.getpid() + 1)], capture_output=True, timeout=20
    )
    assert child.returncode == 1
    assert child.stdout == b''


def test_a_process_whose_parent_lives_goes_on():
    child = subprocess.Popen(
        [sys.executable, '-c', CHILD.format(parent=os.getpid())], stdout=subprocess.PIPE, text=True
    )
    assert int(child.stdout.readline()) == child.pid
    assert child.poll() is None
    child.terminate()
    assert child.wait() == -signal.SIGTERM

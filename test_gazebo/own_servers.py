"""Servers of Gazebo that this process has started."""

from __future__ import annotations

import os
from pathlib import Path


def servers() -> set[int]:
    """Process ids of the servers that this process started."""
    parents, names = {}, {}
    for status in Path('/proc').glob('[0-9]*/status'):
        try:
            fields = dict(line.split(':\t', 1) for line in status.read_text().splitlines() if ':\t' in line)
        except OSError:
            continue
        pid = int(fields['Pid'])
        parents[pid], names[pid] = int(fields['PPid']), fields['Name']

    def mine(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and mine(parents[pid]))

    return {pid for pid, name in names.items() if name == 'gzserver' and mine(pid)}

"""That no command counts for a step it did not reach, and nothing is told of an earlier step, on busy cores too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN, start_pose
from mtopt_core.trajectory import Trajectory
from mtopt_sim.simulators import new_cell

MOVES, SECONDS = 12, 2.0
OPEN = np.array([[CELL.arm.finger_open]])


@contextmanager
def busy_cores() -> Iterator[None]:
    """Have three processes for every core that want all of it."""
    others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def joints_on_the_way() -> np.ndarray:
    """Return the joints of a new server's arm every half second of some moves, `(N, 7)` rad."""
    rng, seen = np.random.default_rng(4), []
    with closing(new_cell('gazebo', 32, ('main',))) as cell:
        cell.reset(1)
        goal = cell.joint_positions
        for number in range(MOVES):
            goal = cell.kinematics.inverse(goal, *start_pose((RIGHT_BIN, LEFT_BIN)[number % 2], rng))
            arm, gripper = Trajectory.at_rest([SECONDS], goal[None]), Trajectory.at_rest([SECONDS], OPEN)
            for _ in cell.motion(arm, gripper):
                seen.append(cell.joint_positions)
    return np.array(seen)


def test_the_same_moves_are_the_same_to_the_last_bit_while_others_want_the_cores():
    with busy_cores():
        there = joints_on_the_way()
    here = joints_on_the_way()
    np.testing.assert_array_equal(there, here)

"""The cloth, in MuJoCo and in Gazebo alike."""

from __future__ import annotations

import numpy as np
import pytest

from mtopt_core.description.cell_table import RIGHT_BIN
from mtopt_core.description.cloth_table import CELL_WITH_CLOTH
from mtopt_core.tasks import load_tasks
from mtopt_sim.simulators import new_cell

TASKS = load_tasks('tasks_with_cloth.yaml')


@pytest.fixture(scope='module', params=['mujoco', 'gazebo'])
def cell(request):
    cell = new_cell(request.param, 64, table=CELL_WITH_CLOTH)
    yield cell
    cell.close()


def test_a_cloth_is_lifted_by_its_fold(cell, hand):
    lifted = 0
    for seed in range(4):
        cell.reset(seed, RIGHT_BIN, require='cloth')
        assert not cell.outcomes(TASKS)['lift-cloth']
        aim = cell.grasp('cloth')
        hand.go(aim.position, aim.yaw)
        hand.act(close_gripper=True)
        hand.act(z=0.1)
        hand.act(z=0.1)
        lifted += cell.outcomes(TASKS)['lift-cloth']
    assert lifted >= 3


def test_a_cloth_that_is_let_go_above_an_object_covers_it(cell, hand):
    covered = 0
    for seed in range(4):
        cell.reset(seed, RIGHT_BIN, require='cloth', holding=True)
        assert cell.object_states()['cloth'].held
        (other,) = set(cell.object_positions()) - {'cloth'}
        hand.go(np.append(cell.object_positions()[other][:2], cell.top(other) + 0.03))
        assert not cell.outcomes(TASKS)['cover-object']
        hand.act(open_gripper=True)
        hand.act(z=0.1)
        covered += cell.outcomes(TASKS)['cover-object']
    assert covered >= 2

from __future__ import annotations

import numpy as np
import pytest

from mtopt_core.configuration import CAMERAS, CellConfiguration
from mtopt_core.description.cell_table import CELL, RIGHT_BIN
from mtopt_core.description.cloth_table import CELL_WITH_CLOTH, CLOTH, table_for
from mtopt_core.description.parts import box
from mtopt_core.episode import Action
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_core.step_planner import StepPlanner
from mtopt_core.tasks import load_tasks
from mtopt_sim.cell import Cell
from mtopt_sim.cloth import covers, creased, pose
from mtopt_sim.errors import SimulationError
from mtopt_sim.grasping import Body
from mtopt_sim.scene import COVERED_HEIGHT, draw_scene

TASKS = load_tasks('tasks_with_cloth.yaml')


@pytest.fixture(scope='module')
def cell() -> Cell:
    """A cell with a cloth; the fixtures that move one take it too."""
    return Cell(64, table=CELL_WITH_CLOTH)


@pytest.fixture(scope='module')
def plain() -> Cell:
    return Cell(64)


def step(cell: Cell, action: Action) -> None:
    planned = StepPlanner(cell.kinematics, CellConfiguration()).plan(cell.joint_positions, action, cell.gripper_closed)
    cell.run(planned.arm, planned.gripper)


def test_only_tasks_about_the_cloth_need_the_cell_that_has_one():
    assert table_for(load_tasks()) is CELL
    assert CELL.cloth is None
    assert table_for(TASKS) is CELL_WITH_CLOTH


def test_scenes_that_do_not_ask_for_the_cloth_are_drawn_as_in_a_cell_without():
    for seed in range(20):
        with_cloth, without = (
            draw_scene(table, None, 'sausage', np.random.default_rng(seed)) for table in (CELL_WITH_CLOTH, CELL)
        )
        assert with_cloth.cloth is None
        assert list(with_cloth.objects) == list(without.objects)
        for name, place in without.objects.items():
            assert np.array_equal(with_cloth.objects[name].position, place.position)
        assert np.array_equal(with_cloth.look.object_tints, without.look.object_tints)


def test_a_scene_without_the_cloth_shows_none_and_looks_as_in_a_cell_without(cell, plain):
    for seed in range(5):
        for one in (cell, plain):
            one.reset(seed, RIGHT_BIN)
        assert 'cloth' not in cell.object_positions()
        for name, place in plain.object_positions().items():
            assert cell.object_positions()[name] == pytest.approx(place, abs=1e-3)
        for camera in CAMERAS:
            difference = np.abs(cell.render(camera).astype(int) - plain.render(camera))
            assert (difference.max(axis=2) > 30).mean() < 0.01


def test_the_same_seed_lays_the_same_cloth(cell):
    def snapshot() -> tuple[bytes, ...]:
        return tuple(cell.render(camera).tobytes() for camera in CAMERAS)

    cell.reset(3, RIGHT_BIN, require='cloth')
    first = snapshot()
    cell.reset(4, RIGHT_BIN, require='cloth', holding=True)
    assert snapshot() != first
    cell.reset(3, RIGHT_BIN, require='cloth')
    assert snapshot() == first


def test_the_cloth_lies_creased_and_still_in_the_right_bin(cell):
    for seed in range(12):
        cell.reset(seed, RIGHT_BIN, require='cloth')
        before = cell.object_positions()['cloth']
        assert cell.table.bin(RIGHT_BIN).contains(*before[:2])
        # The sides of the fold are 25 mm long; everything else lies flat.
        assert 0.012 < cell.top('cloth') < 0.06
        step(cell, Action(np.zeros(3)))
        assert cell.object_positions()['cloth'] == pytest.approx(before, abs=1e-3)


def test_a_cover_episode_starts_with_the_cloth_firmly_in_the_hand_and_something_low_to_cover(cell):
    for seed in range(12):
        cell.reset(seed, RIGHT_BIN, require='cloth', holding=True)
        (other,) = set(cell.object_positions()) - {'cloth'}
        assert cell.top(other) < COVERED_HEIGHT
        assert not cell.outcomes(TASKS)['cover-object']
        for shift in ((0.04, 0.0, 0.04), (-0.04, 0.03, 0.0)):
            step(cell, Action(np.array(shift), 0.4))
        assert cell.object_states()['cloth'].held


def test_a_cloth_that_is_let_go_high_in_the_air_does_not_cover_what_is_elsewhere(cell):
    cell.reset(5, RIGHT_BIN, require='cloth', holding=True)
    (other,) = set(cell.object_positions()) - {'cloth'}
    centre = np.array(CELL.bin(RIGHT_BIN).centre)
    away = centre - 0.09 * np.sign(cell.object_positions()[other][:2] - centre)
    for _ in range(5):
        step(cell, Action(np.clip([*(away - cell.tip_position[:2]), 0.02], -0.1, 0.1)))
    step(cell, Action(open_gripper=True))
    step(cell, Action(np.array([0, 0, 0.1])))
    assert not cell.object_states()['cloth'].touched
    assert not cell.outcomes(TASKS)['cover-object']


def test_a_pose_puts_the_fold_where_it_is_asked_for():
    slopes = creased(CLOTH, 2, 0.9)
    qpos = pose(CLOTH, slopes, 2, np.array([0.5, 0.1, 0.2]), 0.7)
    along = rotation_from_rpy(0.0, 0.0, 0.7)[:, 0]
    # Two and a half flat strips lie before the fold's first side: its lower end is where they end.
    length = CLOTH.strip[0]
    start = np.array([0.5, 0.1, 0.2]) - length * (np.cos(0.9) * along + np.sin(0.9) * np.array([0, 0, 1]))
    assert qpos[:3] == pytest.approx(start - 1.5 * length * along)
    assert qpos[7:] == pytest.approx([0.0, 0.9, -1.8, 0.9, 0.0, 0.0])


@pytest.mark.parametrize(
    ('point', 'tilt', 'expected'),
    [
        ((0.0, 0.0, 0.0), 0.0, True),
        ((0.09, 0.0, 0.0), 0.0, True),
        ((0.09, 0.0, 0.0), 0.8, False),
        ((0.0, 0.06, 0.0), 0.0, False),
        ((0.0, 0.0, 0.2), 0.0, False),
        ((0.0, 0.0, 0.0), np.pi / 2, False),
    ],
    ids=['below', 'below its end', 'beside the end of a tilted one', 'beside', 'above', 'under an upright one'],
)
def test_a_plate_covers_what_is_below_it_seen_from_above(point, tilt, expected):
    plate = Body((box((0.2, 0.1, 0.003), (1.0, 0.0, 0.0)),), np.array([0, 0, 0.1]), rotation_from_rpy(0.0, tilt, 0.0))
    assert covers([plate], np.array(point)) == expected


def test_a_cell_without_a_cloth_names_what_it_has(plain):
    with pytest.raises(SimulationError, match="no category 'cloth'; known: milk"):
        plain.reset(0, require='cloth')

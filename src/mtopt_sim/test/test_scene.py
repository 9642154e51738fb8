from __future__ import annotations

import numpy as np
import pytest

from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN
from mtopt_core.description.parts import box, cylinder, sphere
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_sim.geometry import lowest_point, narrowest, radius, reach
from mtopt_sim.scene import draw_scene

COLOUR = (1.0, 0.0, 0.0)


def test_scenes_hold_each_category_as_often_as_the_table_says():
    rng = np.random.default_rng(0)
    scenes = [draw_scene(CELL, None, None, rng) for _ in range(200)]
    for category in CELL.categories:
        share = np.mean([category.name in scene.objects for scene in scenes])
        assert share == pytest.approx(category.probability, abs=0.11)
    assert min(len(scene.objects) for scene in scenes) >= 1


def test_objects_are_laid_out_inside_the_walls_and_clear_of_the_bottom():
    rng = np.random.default_rng(1)
    home = CELL.bin(RIGHT_BIN)
    for _ in range(30):
        for name, place in draw_scene(CELL, None, None, rng).objects.items():
            shapes = CELL.category(name).shapes
            assert place.position[2] + lowest_point(shapes, place.rotation) > 0
            for direction in (0, 1):
                out = reach(shapes, place.rotation[direction])
                assert abs(place.position[direction] - home.centre[direction]) + out < home.inside[direction] / 2


def test_the_plate_lies_within_its_bin_with_its_bottom_section_towards_the_robot():
    rng = np.random.default_rng(2)
    home = CELL.bin(LEFT_BIN)
    scenes = [draw_scene(CELL, (1, 1), None, rng) for _ in range(60)]
    for scene in scenes:
        assert np.all(np.abs(scene.plate_position - home.centre) + CELL.plate.radius < np.array(home.inside) / 2)
        facing = CELL.plate.sections[2]
        middle = (facing.start + facing.end) / 2 + scene.plate_yaw
        assert np.cos(middle) < -0.85
    assert np.ptp([scene.plate_yaw for scene in scenes]) > 0.8
    assert {scene.look.plate_colour for scene in scenes} == {0, 1, 2}


def test_how_much_looks_vary_changes_nothing_else():
    def scene(looks):
        rng = np.random.default_rng(3)
        drawn = draw_scene(CELL, None, None, rng, looks=looks)
        return drawn, rng.random()

    (none, after_none), (usual, after), (twice, after_twice) = map(scene, (0.0, 1.0, 2.0))
    assert after_none == after == after_twice
    for one in (none, twice):
        assert one.objects.keys() == usual.objects.keys()
        assert all(np.array_equal(one.objects[name].position, usual.objects[name].position) for name in one.objects)
        assert (one.plate_yaw, *one.plate_position) == (usual.plate_yaw, *usual.plate_position)
    for name in ('object_tints', 'surface_tint', 'plate_tint', 'camera_shifts', 'camera_turns'):
        assert not getattr(none.look, name).any()
        assert getattr(usual.look, name).all()
        assert getattr(twice.look, name) == pytest.approx(2 * getattr(usual.look, name))
    assert (none.look.plate_colour, none.look.lamp_brightness) == (0, 0.5)
    assert none.look.lamp_direction == pytest.approx([0, 0, -1])
    assert twice.look.lamp_brightness - 0.5 == pytest.approx(2 * (usual.look.lamp_brightness - 0.5))


def test_reach_is_that_of_the_farthest_corner():
    shapes = (box((0.2, 0.1, 0.04), COLOUR, (0.05, 0, 0)), sphere(0.5, COLOUR, collides=False))
    assert reach(shapes, np.array([1.0, 0, 0])) == pytest.approx(0.15)
    assert reach(shapes, np.array([-1.0, 0, 0])) == pytest.approx(0.05)
    assert reach(shapes, np.array([np.sqrt(0.5), np.sqrt(0.5), 0])) == pytest.approx(np.sqrt(0.5) * 0.2)
    tilted = (cylinder(0.02, 0.1, COLOUR, rpy=(np.pi / 2, 0, 0)),)
    assert reach(tilted, np.array([0, 1.0, 0])) == pytest.approx(0.05)
    assert reach(tilted, np.array([0, 0, 1.0])) == pytest.approx(0.02)


def test_a_lying_box_is_narrowest_across_its_short_side():
    shapes = (box((0.2, 0.1, 0.04), COLOUR),)
    turned = rotation_from_rpy(0.0, 0.0, np.deg2rad(30))
    angle, width = narrowest(shapes, turned)
    assert np.rad2deg(angle) == pytest.approx(120)
    assert width == pytest.approx(0.1)
    assert lowest_point(shapes, rotation_from_rpy(np.pi / 2, 0.0, 0.0)) == pytest.approx(-0.05)
    assert radius(shapes, turned) == pytest.approx(np.hypot(0.1, 0.05), abs=3e-3)

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mtopt_core.configuration import load_cell
from mtopt_core.description.cell_table import CELL, regions
from mtopt_core.errors import ConfigurationError
from mtopt_core.images import crop_resize
from mtopt_core.regions import rectify

UPRIGHT = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def test_the_shipped_regions_are_those_of_the_table():
    assert load_cell().regions == regions()


@pytest.mark.parametrize('camera', ['main', 'side_left', 'side_right'])
@pytest.mark.parametrize('picture', [128, 472])
def test_the_plate_is_a_circle_in_the_same_place_in_every_rectified_view(camera, picture):
    view = next(one for one in CELL.cameras if one.name == camera)
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    middle = np.array([*CELL.bin(CELL.plate.bin).centre, 0.0])
    rim = middle + CELL.plate.radius * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(100)])
    large = np.zeros((8 * picture, 8 * picture, 3), np.uint8)
    outline = np.round(view.project(rim) * 8 * picture - 0.5).astype(np.int32)
    cv2.fillPoly(large, [outline], (255, 255, 255))
    rectified = rectify(crop_resize(large, picture), regions()['place'][camera], 64)
    white = np.argwhere(rectified[..., 0] > 127)
    np.testing.assert_allclose(white.mean(axis=0), 31.5, atol=0.7)
    # 0.34 m are 64 px.
    assert len(white) == pytest.approx(np.pi * (CELL.plate.radius / 0.34 * 64) ** 2, rel=0.06)


def test_the_far_side_is_up_as_the_arm_sees_it():
    for camera in CELL.cameras:
        if camera.name not in regions()['place']:
            continue
        rgb = np.zeros((256, 256, 3), np.uint8)
        column, row = camera.project(np.array([[0.60, 0.27, 0.0]]))[0] * 256
        cv2.circle(rgb, (int(column), int(row)), 5, (255, 255, 255), -1)
        row, column = np.argwhere(rectify(rgb, regions()['place'][camera.name], 64)[..., 0] > 127).mean(axis=0)
        assert row < 24, camera.name
        assert column < 24, camera.name


def test_shares_are_of_the_centre_square_and_what_is_cut_out_upright_stays_as_it_is():
    wide = np.zeros((64, 100, 3), np.uint8)
    wide[:, 18:82] = np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    np.testing.assert_array_equal(rectify(wide, UPRIGHT, 32), wide[16:48, 34:66])


def test_a_large_picture_is_averaged_not_picked_from():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(rectify(stripes, UPRIGHT, 64)) < 10


@pytest.mark.parametrize(
    ('regions', 'message'),
    [
        ('{place: {attic: [[0, 0], [1, 0], [1, 1], [0, 1]]}}', 'no camera attic'),
        ('{place: {main: [[0, 0], [1, 1], [1, 0], [0, 1]]}}', 'do not go round it in main'),
        ('{place: {main: [[0, 0], [1, 0], [1, 1]]}}', 'main'),
    ],
)
def test_a_region_that_cannot_be_looked_at_is_refused(tmp_path, regions, message):
    file = tmp_path / 'cell.yaml'
    file.write_text(f'regions: {regions}')
    with pytest.raises(ConfigurationError, match=message):
        load_cell(file)

from __future__ import annotations

import numpy as np
import pytest

from mtopt_collector.recorded_image import recorded_from_jpeg, recorded_jpeg, shrink
from mtopt_core.errors import ImageError
from mtopt_core.images import crop_resize, decode_jpeg, encode_jpeg

PICTURE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def test_a_wide_picture_keeps_its_aspect_and_loses_no_pixel_column():
    assert shrink(PICTURE, 128).shape == (128, 171, 3)


def test_a_small_picture_is_not_enlarged():
    assert shrink(PICTURE, 481) is PICTURE


def test_size_zero_keeps_the_cameras_own_size():
    assert decode_jpeg(recorded_jpeg(PICTURE, 0, 90)).shape == PICTURE.shape


def test_shrinking_before_the_crop_shows_what_cropping_the_full_picture_shows():
    rows, columns = np.mgrid[:480, :640]
    smooth = np.stack([columns * 0.39, rows * 0.53, (rows + columns) * 0.22], axis=2).astype(np.uint8)
    before, after = crop_resize(shrink(smooth, 128), 128), crop_resize(smooth, 128)
    assert np.abs(before.astype(int) - after).max() <= 2


def test_a_jpeg_of_the_right_size_is_recorded_byte_for_byte():
    jpeg = encode_jpeg(PICTURE[:128, :128], 80)
    assert recorded_from_jpeg(jpeg, 128, 95) is jpeg


def test_a_larger_jpeg_is_shrunk():
    assert decode_jpeg(recorded_from_jpeg(encode_jpeg(PICTURE, 80), 128, 95)).shape == (128, 171, 3)


def test_a_cut_off_jpeg_is_refused():
    with pytest.raises(ImageError):
        recorded_from_jpeg(encode_jpeg(PICTURE, 80)[:-100], 128, 95)

from __future__ import annotations

import cv2
import pytest

from mtopt_core.errors import ImageError
from mtopt_sim.picture import picture


def test_the_picture_shows_four_views(tmp_path):
    picture(tmp_path / 'cell.png', size=32)
    sheet = cv2.imread(str(tmp_path / 'cell.png'))
    assert sheet.shape == (64, 64, 3)
    views = [sheet[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)]
    assert len({view.tobytes() for view in views}) == 4
    assert all(view.std() > 20 for view in views)


@pytest.mark.parametrize('name', ['cell.nonsense', 'nowhere/cell.png'])
def test_a_picture_that_cannot_be_written_is_named(tmp_path, name):
    with pytest.raises(ImageError, match='cannot be written'):
        picture(tmp_path / name, size=32)

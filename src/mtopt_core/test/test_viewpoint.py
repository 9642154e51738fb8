"""A point of the cell is found again in a camera's picture."""

import numpy as np
import pytest

from mtopt_core.viewpoint import Viewpoint

# Two metres above the origin, looking down, the picture's upper edge towards x.
DOWN = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
ABOVE = Viewpoint(np.array([0, 0, 2.0]), DOWN, np.pi / 2)


def test_what_lies_ahead_is_in_the_middle_and_the_field_of_view_ends_at_the_edges():
    points = np.array([[0, 0, 0], [2, 0, 0], [0, -2, 0], [-2, 2, 0], [0, 1, 0], [0.5, 0, 1.0]])
    assert ABOVE.project(points) == pytest.approx(
        np.array([[0.5, 0.5], [0.5, 0], [1, 0.5], [0, 1], [0.25, 0.5], [0.5, 0.25]])
    )


def test_what_is_not_in_front_of_the_camera_is_nowhere_in_the_picture():
    assert np.isnan(ABOVE.project(np.array([[0, 0, 3], [0.5, 0, 2.0]]))).all()

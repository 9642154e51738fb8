"""The one table of the cell: arm, two bins, the divided plate, nine categories, four cameras.

Base frame: origin at the arm's foot, x towards the bins, y to the arm's left, z up; z = 0 is the bottom of both bins,
so that the gripper tip's z is its height to the bottom.
"""

from __future__ import annotations

from math import pi

import numpy as np

from mtopt_core.configuration import DETECTOR_CAMERAS, MAIN, SIDE_LEFT, SIDE_RIGHT, WRIST
from mtopt_core.description.arm_table import ARM
from mtopt_core.description.object_table import CATEGORIES
from mtopt_core.description.parts import Bin, Camera, CellTable, Plate, Section
from mtopt_core.regions import Corners, Regions

RIGHT_BIN, LEFT_BIN = 'right_bin', 'left_bin'

WOOD = (0.70, 0.62, 0.50)
SLATE = (0.30, 0.33, 0.38)
BIN_FLOOR = (0.42, 0.44, 0.46)

START_HEIGHT = (0.10, 0.20)
START_YAW = (-pi / 2, pi / 2)
START_MARGIN = 0.05
REGION_MARGIN = 0.02

BINS = tuple(
    Bin(name, centre, inside=(0.30, 0.30), wall_height=0.05, wall_thickness=0.01, colour=SLATE, floor_colour=BIN_FLOOR)
    for name, centre in ((RIGHT_BIN, (0.50, -0.17)), (LEFT_BIN, (0.50, 0.17)))
)
PLATE = Plate(
    bin=LEFT_BIN,
    radius=0.112,
    rim_height=0.016,
    divider_height=0.012,
    thickness=0.006,
    rim_segments=20,
    sections=(
        Section('top-right', 0.0, pi / 2),
        Section('top-left', pi / 2, pi),
        Section('bottom', pi, 2 * pi),
    ),
    colours=((0.93, 0.89, 0.78), (0.55, 0.74, 0.93), (0.62, 0.86, 0.66)),
)
CAMERAS = (
    Camera(MAIN, 'base', (0.06, -0.36, 0.64), (0.48, 0.0, 0.05), (0, 0, 1), 0.90),
    Camera(WRIST, 'hand', (0.080, 0.0, 0.030), (0.022, 0.0, 0.150), (1, 0, 0), 1.25),
    Camera(SIDE_LEFT, 'base', (0.66, 0.66, 0.40), (0.50, 0.05, 0.105), (0, 0, 1), 0.86),
    Camera(SIDE_RIGHT, 'base', (0.66, -0.66, 0.40), (0.50, -0.05, 0.105), (0, 0, 1), 0.86),
)

CELL = CellTable(ARM, BINS, PLATE, CATEGORIES, CAMERAS, WOOD)


def regions(table: CellTable = CELL) -> Regions:
    """Return what shows whether a place succeeded: the bottom of the plate's bin, its far side up."""
    home = table.bin(table.plate.bin)
    half = np.array(home.inside) / 2 + REGION_MARGIN
    around = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    corners = np.column_stack([home.centre + around * half, np.zeros(4)])

    def seen(camera: Camera) -> Corners:
        (a, b), (c, d), (e, f), (g, h) = camera.project(corners).round(3).tolist()
        return (a, b), (c, d), (e, f), (g, h)

    return {'place': {camera.name: seen(camera) for camera in table.cameras if camera.name in DETECTOR_CAMERAS}}


def start_box(region: str, table: CellTable = CELL) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest position `(3,)` of the tip that `start_pose` draws, m, base frame."""
    home = table.bin(region)
    reach = np.array(home.inside) / 2 - START_MARGIN
    low, high = START_HEIGHT
    return np.append(home.centre - reach, low), np.append(home.centre + reach, high)


def start_pose(region: str, rng: np.random.Generator, table: CellTable = CELL) -> tuple[np.ndarray, float]:
    """Draw the pose an episode starts in: anywhere above a bin, any yaw (paper section X-B).

    Returns:
        The tip's position `(3,)`, m, and the yaw, rad, base frame.
    """
    home = table.bin(region)
    reach = np.array(home.inside) / 2 - START_MARGIN
    position = np.append(home.centre + rng.uniform(-reach, reach), rng.uniform(*START_HEIGHT))
    return position, float(rng.uniform(*START_YAW))

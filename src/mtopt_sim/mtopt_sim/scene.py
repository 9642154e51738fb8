"""What a seed decides: which objects lie where, the plate's pose and colour, light, colours, cameras' mounting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mtopt_core.description.cell_table import RIGHT_BIN
from mtopt_core.description.parts import Category, CellTable, Cloth, Vector
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_sim.cloth import ClothPlacement, creased, pose
from mtopt_sim.geometry import lowest_point, radius, reach

Objects = Collection[str] | tuple[int, int] | None
Circle = tuple[np.ndarray, float]
"""A middle `(2,)` and a radius, m: where something lies."""

PLACES_TRIED = 24
DROP_HEIGHT = 0.003
PILE_HEIGHT = 0.05
WALL_GAP = 0.012
PLATE_SLACK = 0.004
# As laid the bottom section is nearest to the robot: the names of the sections are as seen from there.
PLATE_YAW, PLATE_TURN = -np.pi / 2, 0.5

# Objects beside a cloth that lies in the bin.
BESIDE_CLOTH = 2
# What is to be covered is no higher than this, m: off a bottle a cloth of plates slides.
COVERED_HEIGHT = 0.09

OBJECT_TINT, SURFACE_TINT = 0.05, 0.03
CAMERA_SHIFT, CAMERA_TURN = 0.004, 0.012
LAMP_TILT, LAMP_BRIGHTNESS, LAMP_RANGE = 0.35, 0.5, 0.12


@dataclass(frozen=True)
class Placement:
    """Where an object starts: position `(3,)`, m, and rotation `(3, 3)`, base frame."""

    position: np.ndarray
    rotation: np.ndarray


@dataclass(frozen=True)
class Look:
    """How the scene looks: everything that changes pictures but no contacts.

    Attributes:
        object_tints: `(O, 3)`, added to the colour of each category.
        surface_tint: `(3,)`, added to table and bins.
        plate_colour: Index of the plate's colour.
        plate_tint: `(3,)`, added to it.
        lamp_direction: `(3,)`, of the light's rays.
        lamp_brightness: In [0, 1].
        camera_shifts: `(C, 3)` m.
        camera_turns: `(C, 3)` rad, rotation vectors in the camera's frame.
    """

    object_tints: np.ndarray
    surface_tint: np.ndarray
    plate_colour: int
    plate_tint: np.ndarray
    lamp_direction: np.ndarray
    lamp_brightness: float
    camera_shifts: np.ndarray
    camera_turns: np.ndarray


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        objects: Placements by category.
        plate_position: `(2,)` m.
        plate_yaw: rad.
        look: Colours, light and cameras.
        cloth: How the cloth lies, and, in the hand, is creased; none for no cloth.
    """

    objects: dict[str, Placement]
    plate_position: np.ndarray
    plate_yaw: float
    look: Look
    cloth: ClothPlacement | None = None


def draw_scene(
    table: CellTable,
    objects: Objects,
    require: str | None,
    rng: np.random.Generator,
    held: bool = False,
    looks: float = 1.0,
) -> Scene:
    """Draw a scene.

    Args:
        table: The cell.
        objects: Categories to lay out; or the smallest and largest number of them; or none, for each category with
            its own probability and at least one.
        require: Category that is laid out in any case; or the cloth, which no other scene has, and beside which there
            are fewer objects.
        rng: Source of everything drawn.
        held: Whether a cloth that is required will be in the hand, with one object in the bin.
        looks: How much light, colours and cameras vary, from 0, not at all, over 1, as usual, to 4,
            where the lamp may nearly go out. Nothing else depends on it.
    """
    names = _choose(table, objects, rng)
    cloth: ClothPlacement | None = None
    taken: list[Circle] = []
    if table.cloth is not None and require == table.cloth.name:
        names = [_coverable(table, names, rng)] if held else names[:BESIDE_CLOTH]
        cloth, circles = _lay_cloth(table, table.cloth, rng)
        taken = [] if held else circles
    elif require is not None and require not in names:
        names.append(require)
    home = table.bin(table.plate.bin)
    slack = np.array(home.inside) / 2 - table.plate.radius - table.plate.thickness / 2 - PLATE_SLACK
    return Scene(
        objects=place_objects(table, names, rng, taken),
        plate_position=home.centre + rng.uniform(-slack, slack),
        plate_yaw=float(PLATE_YAW + rng.uniform(-PLATE_TURN, PLATE_TURN)),
        look=_draw_look(table, rng, looks),
        cloth=cloth,
    )


def resting_rotation(category: Category, rng: np.random.Generator) -> np.ndarray:
    """Draw one of the orientations `(3, 3)` a category can lie in, turned about the vertical."""
    lying = rotation_from_rpy(*category.resting[rng.integers(len(category.resting))])
    return rotation_from_rpy(0.0, 0.0, rng.uniform(-np.pi, np.pi)) @ lying


def place_objects(
    table: CellTable, names: Collection[str], rng: np.random.Generator, taken: Collection[Circle] = ()
) -> dict[str, Placement]:
    """Lay objects into the right bin: off what is taken and apart where there is room, else dropped onto the others."""
    home = table.bin(RIGHT_BIN)
    placed: dict[str, Placement] = {}
    circles = list(taken)
    floor = 0.0
    for name in names:
        category = table.category(name)
        rotation = resting_rotation(category, rng)
        size = radius(category.shapes, rotation)
        margin = np.array(home.inside) / 2 - np.minimum(size + WALL_GAP, np.array(home.inside) / 2)
        places = home.centre + rng.uniform(-margin, margin, (PLACES_TRIED, 2))
        gaps = [min((np.hypot(*(place - at)) - other for at, other in circles), default=1.0) - size for place in places]
        best = next((index for index, gap in enumerate(gaps) if gap > 0), int(np.argmax(gaps)))
        if gaps[best] < 0:
            floor += PILE_HEIGHT
        height = DROP_HEIGHT + (floor if gaps[best] < 0 else 0.0) - lowest_point(category.shapes, rotation)
        placed[name] = Placement(np.append(places[best], height), rotation)
        circles.append((places[best], size))
    return placed


def _lay_cloth(table: CellTable, cloth: Cloth, rng: np.random.Generator) -> tuple[ClothPlacement, list[Circle]]:
    """Lay the cloth into the right bin, with one fold; return it and the circles it takes."""
    home = table.bin(RIGHT_BIN)
    fold, yaw = int(rng.choice(cloth.folds)), float(rng.uniform(-np.pi, np.pi))
    slopes = creased(cloth, fold, float(rng.uniform(*cloth.slope)))
    along, width = rotation_from_rpy(0.0, 0.0, yaw)[:2, 0], cloth.strip[1]
    edges = cloth.strip[0] * np.cumsum([0.0, *np.cos(slopes)])
    ends = np.array([edges[0], edges[-1]]) - edges[fold + 1]
    # Where the top of the fold may be for both ends, as wide as they are, to lie between the walls.
    margin = np.abs(along[::-1]) * width / 2 + WALL_GAP
    low = home.centre - np.array(home.inside) / 2 + margin - np.minimum(0.0, along * ends[:, None]).min(axis=0)
    high = home.centre + np.array(home.inside) / 2 - margin - np.maximum(0.0, along * ends[:, None]).max(axis=0)
    place = rng.uniform(low, high)
    top = np.append(place, cloth.strip[0] * np.sin(slopes[fold]) + DROP_HEIGHT)
    middles = place + np.linspace(ends[0], ends[1], 5)[1:-1, None] * along
    return ClothPlacement(pose(cloth, slopes, fold, top, yaw), np.diff(slopes)), [(one, width / 2) for one in middles]


def _coverable(table: CellTable, names: Sequence[str], rng: np.random.Generator) -> str:
    """Return the first of the names, or else any category, that a cloth can lie over."""
    low = [
        category.name
        for category in table.categories
        if max(map(partial(_height, category), category.resting)) < COVERED_HEIGHT
    ]
    return next((name for name in names if name in low), str(rng.choice(low)))


def _height(category: Category, lying: Vector) -> float:
    up = rotation_from_rpy(*lying)[2]
    return reach(category.shapes, up) + reach(category.shapes, -up)


def _choose(table: CellTable, objects: Objects, rng: np.random.Generator) -> list[str]:
    names = [category.name for category in table.categories]
    odds = np.array([category.probability for category in table.categories])
    if objects is None:
        drawn = rng.random(len(names)) < odds
        drawn[rng.choice(len(names), p=odds / odds.sum())] |= not drawn.any()
        chosen = [name for name, taken in zip(names, drawn, strict=True) if taken]
    elif isinstance(objects, tuple) and len(objects) == 2 and isinstance(objects[0], int):
        count = int(rng.integers(objects[0], int(objects[1]) + 1))
        chosen = list(rng.choice(names, count, replace=False, p=odds / odds.sum()))
    else:
        chosen = [name for name in names if name in objects]
    return [str(name) for name in rng.permutation(chosen)]


def _draw_look(table: CellTable, rng: np.random.Generator, looks: float) -> Look:
    cameras = len(table.cameras)

    def within(largest: float, shape: int | tuple[int, int]) -> np.ndarray:
        return looks * rng.uniform(-largest, largest, shape)

    tilt = within(LAMP_TILT, 2)
    return Look(
        object_tints=within(OBJECT_TINT, (len(table.categories), 3)),
        surface_tint=within(SURFACE_TINT, 3),
        plate_colour=int(rng.integers(len(table.plate.colours))) * bool(looks),
        plate_tint=within(SURFACE_TINT, 3),
        lamp_direction=np.append(tilt, -1.0) / np.linalg.norm(np.append(tilt, -1.0)),
        lamp_brightness=LAMP_BRIGHTNESS + float(within(LAMP_RANGE, 1)[0]),
        camera_shifts=within(CAMERA_SHIFT, (cameras, 3)),
        camera_turns=within(CAMERA_TURN, (cameras, 3)),
    )

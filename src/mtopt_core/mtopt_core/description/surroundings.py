"""What stands around the arm as shapes, the same for every simulator: table, bins, plate.

The plane z = 0, on which everything rests, is each simulator's own; what is below it is only seen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mtopt_core.description.parts import Bin, CellTable, Colour, Plate, Shape, box, cylinder

DISC_SHADE, DIVIDER_SHADE = 0.92, 0.5


def table_shape(table: CellTable) -> Shape:
    """Return the table's top, in the base frame."""
    return box((2.4, 2.4, 0.02), table.table_colour, (0.5, 0.0, -0.014), collides=False)


def bin_shapes(one: Bin) -> list[Shape]:
    """Return a bin's bottom and its four walls, in the base frame."""
    x, y = one.centre
    length, width = one.inside
    thickness, height = one.wall_thickness, one.wall_height
    shapes = [box((length, width, 0.004), one.floor_colour, (x, y, -0.002), collides=False)]
    for side in (-1, 1):
        across = (thickness, width + 2 * thickness, height)
        along = (length, thickness, height)
        shapes += [
            box(across, one.colour, (x + side * (length + thickness) / 2, y, height / 2)),
            box(along, one.colour, (x, y + side * (width + thickness) / 2, height / 2)),
        ]
    return shapes


def plate_shapes(plate: Plate, colour: Colour) -> list[Shape]:
    """Return the plate in its own frame: rim and dividers on a disc that is only seen, as what lies on it is lower.

    Args:
        plate: The plate.
        colour: Of its rim; disc and dividers are darker.
    """
    shapes = [cylinder(plate.radius, 0.002, _darker(colour, DISC_SHADE), (0, 0, 0.0005), collides=False)]
    length = 2 * (plate.radius + plate.thickness / 2) * np.tan(np.pi / plate.rim_segments)
    for angle in 2 * np.pi * np.arange(plate.rim_segments) / plate.rim_segments:
        position = (plate.radius * np.cos(angle), plate.radius * np.sin(angle), plate.rim_height / 2)
        shapes.append(box((plate.thickness, length, plate.rim_height), colour, position, (0, 0, angle)))
    for section in plate.sections:
        reach = plate.inner_radius / 2
        position = (reach * np.cos(section.start), reach * np.sin(section.start), plate.divider_height / 2)
        size = (plate.inner_radius, plate.thickness, plate.divider_height)
        shapes.append(box(size, _darker(colour, DIVIDER_SHADE), position, (0, 0, section.start)))
    return shapes


def tinted(shape: Shape, tint: np.ndarray) -> Shape:
    """Return a shape with `tint` `(3,)` added to its colour."""
    red, green, blue = np.clip(np.add(shape.colour, tint), 0.0, 1.0).tolist()
    return replace(shape, colour=(red, green, blue))


def _darker(colour: Colour, share: float) -> Colour:
    red, green, blue = colour
    return red * share, green * share, blue * share

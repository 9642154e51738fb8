"""The nine categories of objects, told apart at 64 px by colour and shape; every one fits an 8 cm gripper."""

from __future__ import annotations

from math import pi

from mtopt_core.description.parts import ORIGIN, Category, Vector, box, cylinder, sphere

LYING: Vector = (pi / 2, 0.0, 0.0)
ALONG_X: Vector = (0.0, pi / 2, 0.0)

WHITE = (0.96, 0.96, 0.94)
BLUE = (0.10, 0.25, 0.85)
YELLOW = (0.98, 0.84, 0.08)
GREEN = (0.05, 0.52, 0.18)
BROWN = (0.48, 0.20, 0.09)
RED = (0.88, 0.06, 0.08)
CYAN = (0.10, 0.72, 0.82)
STEEL = (0.70, 0.72, 0.75)
ORANGE = (1.00, 0.46, 0.04)
LEAF = (0.25, 0.70, 0.15)
PINK = (0.96, 0.38, 0.66)
PURPLE = (0.47, 0.14, 0.70)

MILK = Category(
    'milk', 0.55, 0.12,
    (
        box((0.048, 0.048, 0.085), WHITE, (0, 0, -0.0075)),
        box((0.049, 0.049, 0.020), BLUE, (0, 0, 0.045)),
    ),
    resting=(ORIGIN, LYING),
)  # fmt: skip
BANANA = Category(
    'banana', 0.65, 0.08,
    (
        cylinder(0.016, 0.060, YELLOW, (0, 0, 0), ALONG_X),
        cylinder(0.015, 0.050, YELLOW, (0.047, 0.013, 0), (0, pi / 2, 0.55)),
        cylinder(0.015, 0.050, YELLOW, (-0.047, 0.013, 0), (0, pi / 2, -0.55)),
        sphere(0.016, YELLOW, (0.029, 0.001, 0), collides=False),
        sphere(0.016, YELLOW, (-0.029, 0.001, 0), collides=False),
        cylinder(0.006, 0.016, BROWN, (0.074, 0.030, 0), (0, pi / 2, 0.65), collides=False),
    ),
)  # fmt: skip
BOTTLE = Category(
    'bottle', 0.50, 0.12,
    (
        cylinder(0.026, 0.085, GREEN, (0, 0, -0.0225)),
        cylinder(0.012, 0.040, GREEN, (0, 0, 0.040)),
        cylinder(0.013, 0.012, WHITE, (0, 0, 0.066)),
    ),
    resting=(ORIGIN, LYING),
    rolls=True,
)  # fmt: skip
SAUSAGE = Category(
    'sausage', 0.30, 0.07,
    (
        cylinder(0.016, 0.100, BROWN, ORIGIN, ALONG_X),
        sphere(0.016, BROWN, (0.050, 0, 0)),
        sphere(0.016, BROWN, (-0.050, 0, 0)),
    ),
    rolls=True,
)  # fmt: skip
BOX = Category('box', 0.40, 0.12, (box((0.052, 0.070, 0.046), RED),))
CAN = Category(
    'can', 0.45, 0.12,
    (
        cylinder(0.028, 0.062, CYAN),
        cylinder(0.0275, 0.072, STEEL, collides=False),
    ),
    resting=(ORIGIN, LYING),
    rolls=True,
)  # fmt: skip
CARROT = Category(
    'carrot', 0.50, 0.06,
    (
        cylinder(0.018, 0.045, ORANGE, (-0.035, 0, 0), ALONG_X),
        cylinder(0.015, 0.045, ORANGE, (0.010, 0, 0), ALONG_X),
        cylinder(0.010, 0.035, ORANGE, (0.050, 0, 0), ALONG_X),
        cylinder(0.009, 0.030, LEAF, (-0.072, 0, 0), ALONG_X, collides=False),
    ),
    rolls=True,
)  # fmt: skip
CUP = Category(
    'cup', 0.45, 0.08,
    (
        cylinder(0.031, 0.060, PINK),
        cylinder(0.026, 0.0605, (0.45, 0.12, 0.28), (0, 0, 0.0004), collides=False),
    ),
)  # fmt: skip
BALL = Category('ball', 0.45, 0.06, (sphere(0.027, PURPLE),), rolls=True)

CATEGORIES = (MILK, BANANA, BOTTLE, SAUSAGE, BOX, CAN, CARROT, CUP, BALL)

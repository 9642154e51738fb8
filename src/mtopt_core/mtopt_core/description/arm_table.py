"""The arm: Franka-like kinematics and limits, shapes of our own, a two-finger gripper that opens 8 cm."""

from __future__ import annotations

from math import pi

from mtopt_core.description.parts import Arm, Joint, Link, Motion, Shape, Vector, box, cylinder

WHITE = (0.93, 0.93, 0.94)
GREY = (0.55, 0.57, 0.60)
DARK = (0.20, 0.21, 0.23)
FINGER = (0.13, 0.13, 0.14)

HALF_TURN_X: Vector = (pi / 2, 0.0, 0.0)
HAND_LENGTH = 0.066
FINGER_LENGTH = 0.075
OPENING = 0.04


def _solid(*shapes: Shape) -> tuple[Shape, ...]:
    """Return shapes as decoration: no command within the workspace lets the upper arm touch anything."""
    return tuple(Shape(one.form, one.size, one.colour, one.position, one.rpy, collides=False) for one in shapes)


def _finger(name: str) -> Link:
    """Return a finger: its pad's face lies in the plane y = 0, the finger behind it at y > 0."""
    stem = box((0.020, 0.013, FINGER_LENGTH), FINGER, (0, 0.0065, FINGER_LENGTH / 2))
    pad = box((0.016, 0.002, 0.028), GREY, (0, 0.0009, FINGER_LENGTH - 0.015), collides=False)
    return Link(name, 0.05, (0, 0.007, FINGER_LENGTH / 2), (0.02, 0.014, FINGER_LENGTH), (stem, pad))


LINKS = (
    Link('base', 3.0, (0, 0, 0.07), (0.2, 0.2, 0.14), _solid(
        box((0.22, 0.20, 0.04), GREY, (-0.02, 0, 0.02)), cylinder(0.075, 0.14, WHITE, (0, 0, 0.11)),
    )),
    Link('link1', 2.8, (0, -0.02, -0.07), (0.12, 0.12, 0.25), _solid(
        cylinder(0.065, 0.155, WHITE, (0, 0, -0.0775)), cylinder(0.066, 0.14, GREY, (0, 0, 0), HALF_TURN_X),
    )),
    Link('link2', 2.5, (0, -0.07, 0), (0.12, 0.25, 0.12), _solid(
        cylinder(0.060, 0.20, WHITE, (0, -0.10, 0), HALF_TURN_X),
    )),
    Link('link3', 2.5, (0.04, 0, -0.05), (0.2, 0.12, 0.2), _solid(
        cylinder(0.061, 0.12, WHITE, (0, 0, -0.06)), cylinder(0.055, 0.13, GREY, (0.0825, 0, 0), HALF_TURN_X),
        box((0.0825, 0.09, 0.08), WHITE, (0.041, 0, -0.01)),
    )),
    Link('link4', 2.2, (-0.04, 0.04, 0), (0.2, 0.2, 0.12), _solid(
        box((0.09, 0.09, 0.08), WHITE, (-0.045, 0.035, 0)),
        cylinder(0.055, 0.12, WHITE, (-0.0825, 0.07, 0), HALF_TURN_X),
    )),
    Link('link5', 2.0, (0, 0.02, -0.13), (0.12, 0.12, 0.28), _solid(
        cylinder(0.052, 0.20, WHITE, (0, 0, -0.17)), cylinder(0.044, 0.10, WHITE, (0, 0, -0.04)),
    )),
    Link('link6', 1.2, (0.05, 0, 0), (0.15, 0.1, 0.1), _solid(
        cylinder(0.050, 0.11, GREY), box((0.088, 0.07, 0.07), WHITE, (0.044, 0, 0)),
    )),
    Link('link7', 0.7, (0, 0, 0.06), (0.1, 0.1, 0.1), _solid(
        cylinder(0.048, 0.10, WHITE, (0, 0, 0.03)), cylinder(0.040, 0.03, GREY, (0, 0, 0.092)),
    )),
    Link('hand', 0.5, (0, 0, 0.03), (0.06, 0.13, HAND_LENGTH), (
        box((0.055, 0.130, 0.046), DARK, (0, 0, HAND_LENGTH - 0.023)),
        cylinder(0.032, 0.02, DARK, (0, 0, 0.01), collides=False),
        box((0.030, 0.030, 0.022), GREY, (0.045, 0, 0.030), collides=False),
    )),
    _finger('left_finger'),
    _finger('right_finger'),
    Link('tip'),
)  # fmt: skip


def _revolute(number: int, position: Vector, roll: float, limits: tuple[float, float], speed: float) -> Joint:
    parent = 'base' if number == 1 else f'link{number - 1}'
    effort = 87.0 if number <= 4 else 12.0
    return Joint(
        f'joint{number}', Motion.REVOLUTE, parent, f'link{number}', position, (roll, 0.0, 0.0),
        lower=limits[0], upper=limits[1], velocity=speed, effort=effort,
    )  # fmt: skip


def _sliding(name: str, child: str, turn: float, mimics: str = '') -> Joint:
    return Joint(
        name, Motion.PRISMATIC, 'hand', child, (0, 0, HAND_LENGTH), (0, 0, turn), (0, 1, 0),
        lower=0.0, upper=OPENING, velocity=0.2, effort=40.0, mimics=mimics,
    )  # fmt: skip


JOINTS = (
    _revolute(1, (0, 0, 0.333), 0.0, (-2.8973, 2.8973), 2.175),
    _revolute(2, (0, 0, 0), -pi / 2, (-1.7628, 1.7628), 2.175),
    _revolute(3, (0, -0.316, 0), pi / 2, (-2.8973, 2.8973), 2.175),
    _revolute(4, (0.0825, 0, 0), pi / 2, (-3.0718, -0.0698), 2.175),
    _revolute(5, (-0.0825, 0.384, 0), -pi / 2, (-2.8973, 2.8973), 2.61),
    _revolute(6, (0, 0, 0), pi / 2, (-0.0175, 3.7525), 2.61),
    _revolute(7, (0.088, 0, 0), pi / 2, (-2.8973, 2.8973), 2.61),
    # The hand is bolted on so that joint 7 stands in the middle of its range when the yaw is zero.
    Joint('hand_joint', Motion.FIXED, 'link7', 'hand', (0, 0, 0.107)),
    _sliding('finger_joint', 'left_finger', 0.0),
    _sliding('finger_joint_mimic', 'right_finger', pi, mimics='finger_joint'),
    Joint('tip_joint', Motion.FIXED, 'hand', 'tip', (0, 0, HAND_LENGTH + FINGER_LENGTH)),
)

ARM = Arm(
    name='arm',
    base='base',
    tip='tip',
    links=LINKS,
    joints=JOINTS,
    finger_joint='finger_joint',
    home=(0.0, -pi / 4, 0.0, -3 * pi / 4, 0.0, pi / 2, 0.0),
    touching_links=('hand', 'left_finger', 'right_finger'),
)

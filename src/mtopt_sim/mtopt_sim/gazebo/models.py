"""The models of the cell as SDF, generated from the description table: for Gazebo 11 and any later one.

SDF knows no position a joint starts at: the links are laid out as the arm stands at home with the gripper open, that is
where Gazebo's joints read zero, and `joint_zeros` says what that is in the table's terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from mtopt_core.description.parts import Arm, Camera, Category, CellTable, Cloth, Joint, Link, Motion, Shape, box
from mtopt_core.description.surroundings import bin_shapes, plate_shapes, table_shape
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_sim.cloth import ARMATURE, LARGEST_ANGLE, strips_of
from mtopt_sim.gazebo.poses import pose_of, rotation_about
from mtopt_sim.gazebo.sdf import (
    VERSION,
    add,
    add_camera,
    add_friction,
    add_geometry,
    add_inertia,
    add_pose,
    add_shapes,
)
from mtopt_sim.geometry import box_inertia, lowest_point, mass_properties

SURROUNDINGS, PLATE, LINK = 'surroundings', 'plate', 'link'

# P gains and damping of the joints, base to tip. Damping is Gazebo's, which integrates it implicitly: as a D gain it
# shook the wrist. The servo lags behind by damping / stiffness.
STIFFNESS = np.array([2000.0, 2000.0, 2000.0, 2000.0, 400.0, 400.0, 200.0])
DAMPING = np.array([60.0, 60.0, 60.0, 60.0, 10.0, 10.0, 4.0])
# Soft enough to stay below the fingers' largest force: two fingers that press at their limit have nothing that centres
# them, and drift away with what they hold.
FINGER_STIFFNESS, FINGER_DAMPING, FINGER_D_GAIN = 600.0, 5.0, 15.0
OBJECT_FRICTION, FINGER_FRICTION = 1.0, 1.5

# What everything rests on; planes let compound shapes sink in.
FLOORS = (
    box((1.6, 1.6, 0.2), (0, 0, 0), (0.5, 0.0, -0.1)),
    box((1.0, 4.4, 0.2), (0, 0, 0), (-3.0, 0.0, -0.1)),
)


def parked(table: CellTable, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where an object, or the cloth, waits that is not in the scene: on the floor, where no camera looks.

    Returns:
        Position `(3,)`, m, and rotation `(3, 3)`.
    """
    number = table.object_names.index(name)
    if table.cloth is not None and name == table.cloth.name:
        rotation, lowest = np.eye(3), -table.cloth.strip[2] / 2
    else:
        category = table.category(name)
        rotation = rotation_from_rpy(*category.resting[0])
        lowest = lowest_point(category.shapes, rotation)
    return np.array([-3.0, 0.4 * number - 1.6, -lowest]), rotation


def cell_models(table: CellTable, image_size: int, period: float) -> dict[str, Element]:
    """Return the documents of all models, by name.

    Args:
        table: The cell.
        image_size: Side of the square images, px.
        period: Between two images of a camera, s.
    """
    surroundings = [table_shape(table), *(shape for one in table.bins for shape in bin_shapes(one))]
    models = {
        table.arm.name: arm_model(table, joint_zeros(table.arm), image_size, period),
        SURROUNDINGS: _standing_model(SURROUNDINGS, surroundings, ground=True),
        PLATE: _standing_model(PLATE, plate_shapes(table.plate, table.plate.colours[0])),
        **{category.name: _object_model(category) for category in table.categories},
        **{one.name: _camera_model(one, image_size, period) for one in table.cameras if one.link == table.arm.base},
    }
    if table.cloth is not None:
        models[table.cloth.name] = _cloth_model(table.cloth)
    return models


def strip_names(cloth: Cloth) -> list[str]:
    """Return the links of a cloth, one a strip."""
    return [f'strip_{number}' for number in range(cloth.strips)]


def hinge_names(cloth: Cloth) -> list[str]:
    """Return the joints of a cloth, each between a strip and the next."""
    return [f'hinge_{number}' for number in range(cloth.strips - 1)]


def joint_zeros(arm: Arm) -> dict[str, float]:
    """Return the position, rad or m, of every moving joint where Gazebo's reads zero."""
    revolute = [joint.name for joint in arm.joints if joint.motion is Motion.REVOLUTE]
    sliding = [joint.name for joint in arm.joints if joint.motion is Motion.PRISMATIC]
    return {**dict(zip(revolute, arm.home, strict=True)), **dict.fromkeys(sliding, arm.finger_open)}


def link_poses(arm: Arm, positions: dict[str, float]) -> dict[str, np.ndarray]:
    """Return the pose `(4, 4)` of every link in the base frame.

    Args:
        arm: The arm.
        positions: Of every moving joint, rad or m.
    """
    poses = {arm.base: np.eye(4)}
    for joint in arm.joints:
        origin = pose_of(joint.position, rotation_from_rpy(*joint.rpy))
        poses[joint.child] = poses[joint.parent] @ origin @ _moved(joint, positions.get(joint.name, 0.0))
    return poses


def _moved(joint: Joint, position: float) -> np.ndarray:
    pose = np.eye(4)
    if joint.motion is Motion.PRISMATIC:
        pose[:3, 3] = position * np.array(joint.axis)
    elif joint.motion is Motion.REVOLUTE:
        pose[:3, :3] = rotation_about(joint.axis, position)
    return pose


def _model(name: str, static: bool) -> tuple[Element, Element]:
    root = Element('sdf', version=VERSION)
    model = add(root, 'model', name=name)
    add(model, 'static', static)
    return root, model


def _standing_model(name: str, shapes: Sequence[Shape], ground: bool = False) -> Element:
    root, model = _model(name, static=True)
    link = add(model, 'link', name=LINK)
    add_shapes(link, shapes, OBJECT_FRICTION)
    for number, floor in enumerate(FLOORS if ground else ()):
        collision = add(link, 'collision', name=f'floor_{number}')
        add_geometry(collision, floor)
        add_friction(collision, OBJECT_FRICTION)
    return root


def _object_model(category: Category) -> Element:
    root, model = _model(category.name, static=False)
    link = add(model, 'link', name=LINK)
    if category.rolls:
        add(link, 'enable_wind', True)
    add_inertia(link, category.mass, *mass_properties(category))
    add_shapes(link, category.shapes, OBJECT_FRICTION)
    return root


def _camera_model(camera: Camera, image_size: int, period: float) -> Element:
    """Return a camera as a model of its own, which a scene moves a little off its place."""
    root, model = _model(camera.name, static=True)
    add_camera(add(model, 'link', name=LINK), camera, image_size, period)
    return root


def _cloth_model(cloth: Cloth) -> Element:
    """Return the cloth as a chain of strips, its origin in the first one's middle; it does not touch itself."""
    root, model = _model(cloth.name, static=False)
    length = cloth.strip[0]
    hinges, strips = hinge_names(cloth), strip_names(cloth)
    # As in MuJoCo, a strip of a few grams is made slower to turn, or it would be faster than the simulator's steps.
    inertia = box_inertia(cloth.strip, cloth.mass / cloth.strips) + np.diag([0.0, ARMATURE, 0.0])
    for number, (name, shape) in enumerate(zip(strips, strips_of(cloth), strict=True)):
        link = add(model, 'link', name=name)
        add_pose(link, (number * length, 0.0, 0.0), np.eye(3))
        add_inertia(link, cloth.mass / cloth.strips, np.zeros(3), inertia)
        add_shapes(link, [shape], OBJECT_FRICTION)
    for hinge, parent, child in zip(hinges, strips[:-1], strips[1:], strict=True):
        joint = add(model, 'joint', name=hinge, type=Motion.REVOLUTE.value)
        add_pose(joint, (-length / 2, 0.0, 0.0), np.eye(3))
        add(joint, 'parent', parent)
        add(joint, 'child', child)
        axis = add(joint, 'axis')
        add(axis, 'xyz', [0.0, -1.0, 0.0])
        limit = add(axis, 'limit')
        add(limit, 'lower', -LARGEST_ANGLE)
        add(limit, 'upper', LARGEST_ANGLE)
        add(add(axis, 'dynamics'), 'damping', cloth.damping)
    return root


def arm_model(table: CellTable, zeros: dict[str, float], image_size: int, period: float) -> Element:
    """Return the arm, with the cameras on its links, as it stands where all its joints read zero.

    Args:
        table: The cell.
        zeros: Position, rad or m, of every moving joint there, in the table's terms.
        image_size: Side of the square images, px.
        period: Between two images of a camera, s.
    """
    arm = table.arm
    root, model = _model(arm.name, static=False)
    poses = link_poses(arm, zeros)
    for link in arm.links:
        if link.mass:
            element = _add_arm_link(model, link, poses[link.name])
            for camera in table.cameras:
                if camera.link == link.name != arm.base:
                    add_camera(element, camera, image_size, period)
    _add_fixed(model, 'base_joint', 'world', arm.base)
    damping = iter(DAMPING.tolist())
    for joint in arm.joints:
        if joint.motion is Motion.REVOLUTE:
            _add_moving(model, joint, zeros[joint.name], next(damping))
        elif joint.motion is Motion.PRISMATIC:
            _add_moving(model, joint, zeros[joint.name], FINGER_DAMPING)
        elif joint.child != arm.tip:
            _add_fixed(model, joint.name, joint.parent, joint.child)
    return root


def _add_arm_link(model: Element, link: Link, pose: np.ndarray) -> Element:
    """Add a link that weighs something but is not pulled down: the real arm compensates its own weight."""
    element = add(model, 'link', name=link.name)
    add_pose(element, pose[:3, 3], pose[:3, :3])
    add(element, 'gravity', False)
    add_inertia(element, link.mass, link.centre, box_inertia(link.extent, link.mass))
    add_shapes(element, link.shapes, FINGER_FRICTION)
    return element


def _add_fixed(model: Element, name: str, parent: str, child: str) -> None:
    element = add(model, 'joint', name=name, type='fixed')
    add(element, 'parent', parent)
    add(element, 'child', child)


def _add_moving(model: Element, joint: Joint, zero: float, damping: float) -> None:
    element = add(model, 'joint', name=joint.name, type=joint.motion.value)
    add(element, 'parent', joint.parent)
    add(element, 'child', joint.child)
    axis = add(element, 'axis')
    add(axis, 'xyz', joint.axis)
    limit = add(axis, 'limit')
    add(limit, 'lower', joint.lower - zero)
    add(limit, 'upper', joint.upper - zero)
    add(limit, 'effort', joint.effort)
    add(limit, 'velocity', joint.velocity)
    add(add(axis, 'dynamics'), 'damping', damping)

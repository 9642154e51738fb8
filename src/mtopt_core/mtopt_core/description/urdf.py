"""Writes an arm of the table as URDF, readable by MuJoCo, Gazebo and ROS tools alike."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mtopt_core.description.cell_table import CELL
from mtopt_core.description.parts import Arm, Form, Joint, Link, Motion, Shape

_SIZE_ATTRIBUTES = {Form.BOX: ('size',), Form.CYLINDER: ('radius', 'length'), Form.SPHERE: ('radius',)}


def urdf_text(arm: Arm = CELL.arm) -> str:
    """Return the arm's URDF.

    MuJoCo would merge links joined by fixed joints and drop what is only seen; the `<mujoco>` element forbids both.
    Gazebo ignores it.
    """
    robot = Element('robot', name=arm.name)
    SubElement(
        SubElement(robot, 'mujoco'),
        'compiler', fusestatic='false', discardvisual='false', balanceinertia='true', strippath='false',
    )  # fmt: skip
    for link in arm.links:
        _add_link(robot, link)
    for joint in arm.joints:
        _add_joint(robot, joint)
    indent(robot)
    return tostring(robot, encoding='unicode')


def _numbers(values: Sequence[float]) -> str:
    return ' '.join(f'{value:.15g}' for value in values)


def _add_link(robot: Element, link: Link) -> None:
    element = SubElement(robot, 'link', name=link.name)
    if link.mass:
        x, y, z = (length**2 for length in link.extent)
        inertial = SubElement(element, 'inertial')
        SubElement(inertial, 'origin', xyz=_numbers(link.centre))
        SubElement(inertial, 'mass', value=_numbers([link.mass]))
        SubElement(
            inertial, 'inertia', ixx=_numbers([link.mass * (y + z) / 12]), iyy=_numbers([link.mass * (x + z) / 12]),
            izz=_numbers([link.mass * (x + y) / 12]), ixy='0', ixz='0', iyz='0',
        )  # fmt: skip
    for number, shape in enumerate(link.shapes):
        visual = _add_shape(element, 'visual', shape)
        material = SubElement(visual, 'material', name=f'{link.name}_{number}')
        SubElement(material, 'color', rgba=_numbers([*shape.colour, 1.0]))
        if shape.collides:
            _add_shape(element, 'collision', shape)


def _add_shape(link: Element, role: str, shape: Shape) -> Element:
    element = SubElement(link, role)
    SubElement(element, 'origin', xyz=_numbers(shape.position), rpy=_numbers(shape.rpy))
    names = _SIZE_ATTRIBUTES[shape.form]
    values = (shape.size,) if shape.form is Form.BOX else tuple((length,) for length in shape.size)
    sizes = {name: _numbers(value) for name, value in zip(names, values, strict=True)}
    SubElement(SubElement(element, 'geometry'), shape.form.value, attrib=sizes)
    return element


def _add_joint(robot: Element, joint: Joint) -> None:
    element = SubElement(robot, 'joint', name=joint.name, type=joint.motion.value)
    SubElement(element, 'origin', xyz=_numbers(joint.position), rpy=_numbers(joint.rpy))
    SubElement(element, 'parent', link=joint.parent)
    SubElement(element, 'child', link=joint.child)
    if joint.motion is Motion.FIXED:
        return
    SubElement(element, 'axis', xyz=_numbers(joint.axis))
    SubElement(
        element, 'limit', lower=_numbers([joint.lower]), upper=_numbers([joint.upper]),
        velocity=_numbers([joint.velocity]), effort=_numbers([joint.effort]),
    )  # fmt: skip
    if joint.mimics:
        SubElement(element, 'mimic', joint=joint.mimics)

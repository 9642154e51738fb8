"""Elements of SDF (the format of Gazebo's worlds and models) from the words of the description table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from mtopt_core.description.parts import Camera, Colour, Form, Shape
from mtopt_core.kinematics import rotation_from_rpy

VERSION = '1.6'
_SIZES = {Form.BOX: ('size',), Form.CYLINDER: ('radius', 'length'), Form.SPHERE: ('radius',)}
# A camera of Gazebo looks along its x axis with y to the left; the table's axes are right, up, backward.
_CAMERA_AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])


def text(root: Element) -> str:
    """Return a document, indented."""
    indent(root)
    return f'<?xml version="1.0"?>\n{tostring(root, encoding="unicode")}\n'


def add(parent: Element, tag: str, value: object = None, **attributes: str) -> Element:
    """Add an element: a flag, a number, several numbers, or text."""
    element = SubElement(parent, tag, attrib=attributes)
    if value is not None:
        element.text = _written(value)
    return element


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    # Rounded, so that the last bits of a sine do not make another file on another machine; and without a minus zero.
    numbers = np.round(np.atleast_1d(np.asarray(value, float)), 10) + 0.0
    return ' '.join(f'{number:.10g}' for number in numbers.tolist())


def rpy(rotation: np.ndarray) -> np.ndarray:
    """Return roll, pitch and yaw `(3,)`, rad (fixed axes x, y, z), of a rotation `(3, 3)`.

    Pointing straight up or down, roll and yaw are one and the same turn: it is all given to roll.
    """
    level = np.hypot(rotation[0, 0], rotation[1, 0])
    pitch = np.arctan2(-rotation[2, 0], level)
    if level < 1e-9:
        return np.array([np.arctan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0])
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    return np.array([roll, pitch, np.arctan2(rotation[1, 0], rotation[0, 0])])


def add_pose(parent: Element, position: Sequence[float] | np.ndarray, rotation: np.ndarray) -> None:
    """Add a pose: position `(3,)`, m, and rotation `(3, 3)`."""
    add(parent, 'pose', [*position, *rpy(rotation)])


def add_inertia(link: Element, mass: float, centre: Sequence[float] | np.ndarray, inertia: np.ndarray) -> None:
    """Add a link's mass, kg, its centre `(3,)`, m, and its inertia about it `(3, 3)`, kg m2."""
    inertial = add(link, 'inertial')
    add_pose(inertial, centre, np.eye(3))
    add(inertial, 'mass', mass)
    element = add(inertial, 'inertia')
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        add(element, f'i{"xyz"[row]}{"xyz"[column]}', inertia[row, column])


def add_shapes(link: Element, shapes: Iterable[Shape], friction: float) -> None:
    """Add what is seen of a link, and what of it touches.

    Args:
        link: The link.
        shapes: Its shapes; the n-th one's visual is called `visual_n`, its collision `collision_n`.
        friction: Of what touches.
    """
    for number, shape in enumerate(shapes):
        visual = add(link, 'visual', name=f'visual_{number}')
        add_geometry(visual, shape)
        add_material(visual, shape.colour)
        if shape.collides:
            collision = add(link, 'collision', name=f'collision_{number}')
            add_geometry(collision, shape)
            add_friction(collision, friction)


def add_material(visual: Element, colour: Colour) -> None:
    """Add a colour, the same in shade and light, without gloss."""
    material = add(visual, 'material')
    for part in ('ambient', 'diffuse'):
        add(material, part, [*colour, 1.0])
    add(material, 'specular', [0.0, 0.0, 0.0, 1.0])


def add_friction(collision: Element, friction: float) -> None:
    """Add a coefficient of friction, the same in every direction."""
    ode = add(add(add(collision, 'surface'), 'friction'), 'ode')
    add(ode, 'mu', friction)
    add(ode, 'mu2', friction)


def add_camera(link: Element, camera: Camera, image_size: int, period: float) -> None:
    """Add a camera to the link it is mounted on; it renders at every multiple of its period, s, if somebody listens."""
    sensor = add(link, 'sensor', name=camera.name, type='camera')
    add_pose(sensor, *camera_pose(camera))
    add(sensor, 'update_rate', 1 / period)
    add(sensor, 'always_on', False)
    optics = add(sensor, 'camera')
    add(optics, 'horizontal_fov', camera.field_of_view)
    image = add(optics, 'image')
    add(image, 'width', image_size)
    add(image, 'height', image_size)
    add(image, 'format', 'R8G8B8')
    clip = add(optics, 'clip')
    add(clip, 'near', 0.01)
    add(clip, 'far', 10)


def camera_pose(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return a camera's position `(3,)` and rotation `(3, 3)` in its link's frame, in Gazebo's axes."""
    return np.array(camera.position), gazebo_axes(camera.axes)


def gazebo_axes(axes: np.ndarray) -> np.ndarray:
    """Return the rotation `(3, 3)` of a camera of Gazebo whose right, up and backward are these columns `(3, 3)`."""
    return axes @ _CAMERA_AXES


def table_axes(rotation: np.ndarray) -> np.ndarray:
    """Return right, up and backward as columns `(3, 3)` of a camera of Gazebo with this rotation."""
    return rotation @ _CAMERA_AXES.T


def add_geometry(parent: Element, shape: Shape) -> None:
    """Add a shape's pose and form."""
    add_pose(parent, shape.position, rotation_from_rpy(*shape.rpy))
    form = add(add(parent, 'geometry'), shape.form.value)
    names = _SIZES[shape.form]
    values = (shape.size,) if shape.form is Form.BOX else shape.size
    for name, value in zip(names, values, strict=True):
        add(form, name, value)

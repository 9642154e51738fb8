"""The words the cell is described in: shapes, links, joints, bins, the plate, objects, cameras.

Only what URDF, MuJoCo and Gazebo all understand: boxes, cylinders and spheres (Gazebo rejects capsules), lengths in m,
angles in rad, roll-pitch-yaw as in URDF (fixed axes x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

Vector = tuple[float, float, float]
Colour = tuple[float, float, float]

ORIGIN: Vector = (0.0, 0.0, 0.0)


class Form(Enum):
    """A primitive shape's form."""

    BOX = 'box'
    CYLINDER = 'cylinder'
    SPHERE = 'sphere'


@dataclass(frozen=True)
class Shape:
    """One primitive shape in its owner's frame.

    Attributes:
        form: Box, cylinder (along its own z axis) or sphere.
        size: Box: lengths along x, y, z; cylinder: radius, length; sphere: radius; m.
        colour: Red, green, blue in [0, 1].
        position: Centre, m.
        rpy: Roll, pitch, yaw, rad.
        collides: Whether contacts see it; decoration does not cost physics.
    """

    form: Form
    size: tuple[float, ...]
    colour: Colour
    position: Vector = ORIGIN
    rpy: Vector = ORIGIN
    collides: bool = True


def box(size: Vector, colour: Colour, position: Vector = ORIGIN, rpy: Vector = ORIGIN, collides: bool = True) -> Shape:
    """Return a box of these lengths along x, y and z, m."""
    return Shape(Form.BOX, size, colour, position, rpy, collides)


def cylinder(
    radius: float,
    length: float,
    colour: Colour,
    position: Vector = ORIGIN,
    rpy: Vector = ORIGIN,
    collides: bool = True,
) -> Shape:
    """Return a cylinder along its z axis, m."""
    return Shape(Form.CYLINDER, (radius, length), colour, position, rpy, collides)


def sphere(radius: float, colour: Colour, position: Vector = ORIGIN, collides: bool = True) -> Shape:
    """Return a sphere, m."""
    return Shape(Form.SPHERE, (radius,), colour, position, ORIGIN, collides)


@dataclass(frozen=True)
class Link:
    """A rigid link of the arm. Its inertia is that of a solid box of size `extent` around `centre`.

    Attributes:
        name: Unique name.
        mass: kg; 0 for a mere frame.
        centre: Centre of mass in the link's frame, m.
        extent: Lengths of the box that stands for its inertia, m.
        shapes: What is seen, and where it collides, what is touched.
    """

    name: str
    mass: float = 0.0
    centre: Vector = ORIGIN
    extent: Vector = (0.1, 0.1, 0.1)
    shapes: tuple[Shape, ...] = ()


class Motion(Enum):
    """How a joint moves about its axis."""

    FIXED = 'fixed'
    REVOLUTE = 'revolute'
    PRISMATIC = 'prismatic'


@dataclass(frozen=True)
class Joint:
    """A joint between two links, as in URDF.

    Attributes:
        name: Unique name.
        motion: Fixed, revolute or prismatic.
        parent: Link it hangs on.
        child: Link it moves.
        position: Origin in the parent's frame, m.
        rpy: Orientation in the parent's frame, rad.
        axis: Axis in the joint's frame.
        lower: Lower limit, rad or m.
        upper: Upper limit, rad or m.
        velocity: Speed limit, rad/s or m/s.
        effort: Largest torque or force, N m or N.
        mimics: Joint whose position this one copies; empty for none.
    """

    name: str
    motion: Motion
    parent: str
    child: str
    position: Vector = ORIGIN
    rpy: Vector = ORIGIN
    axis: Vector = (0.0, 0.0, 1.0)
    lower: float = 0.0
    upper: float = 0.0
    velocity: float = 0.0
    effort: float = 0.0
    mimics: str = ''


@dataclass(frozen=True)
class Arm:
    """The robot: links and joints from base to fingertips.

    Attributes:
        name: Name of the robot model.
        base: Link every command and pose is expressed in.
        tip: Frame between the ends of the fingers, z pointing out of the hand, fingers opening along y.
        links: All links, parents before children.
        joints: All joints, base to tip.
        finger_joint: Joint that moves the fingers; 0 is closed, its upper limit open, each finger moves that far.
        home: Joint positions of the arm's rest pose, rad.
        touching_links: Links that can touch an object.
    """

    name: str
    base: str
    tip: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]
    finger_joint: str
    home: tuple[float, ...]
    touching_links: tuple[str, ...]

    @property
    def finger_open(self) -> float:
        """Position of the finger joint when open, m."""
        return next(joint.upper for joint in self.joints if joint.name == self.finger_joint)


@dataclass(frozen=True)
class Bin:
    """An open box on the table; the top of its bottom is height zero.

    Attributes:
        name: Start region it is known as.
        centre: x, y of its middle, m.
        inside: Inner lengths along x and y, m.
        wall_height: m above the bottom.
        wall_thickness: m.
        colour: Of the walls.
        floor_colour: Of the bottom.
    """

    name: str
    centre: tuple[float, float]
    inside: tuple[float, float]
    wall_height: float
    wall_thickness: float
    colour: Colour
    floor_colour: Colour

    def contains(self, x: float, y: float) -> bool:
        """Return whether a point lies between the walls."""
        return abs(x - self.centre[0]) < self.inside[0] / 2 and abs(y - self.centre[1]) < self.inside[1] / 2


@dataclass(frozen=True)
class Section:
    """A part of the plate: the polar angles from `start` to `end`, rad, in the plate's frame."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Plate:
    """The round divided plate, fixed for the length of a scene somewhere in its bin.

    Attributes:
        bin: Name of the bin it stands in.
        radius: To the middle of the rim, m.
        rim_height: m above the bin's bottom.
        divider_height: m above the bin's bottom.
        thickness: Of rim and dividers, m.
        rim_segments: Boxes the rim is made of.
        sections: What the dividers separate.
        colours: One is drawn for each scene.
    """

    bin: str
    radius: float
    rim_height: float
    divider_height: float
    thickness: float
    rim_segments: int
    sections: tuple[Section, ...]
    colours: tuple[Colour, ...]

    @property
    def inner_radius(self) -> float:
        """Inner radius of the rim, m."""
        return self.radius - self.thickness / 2

    def section_at(self, x: float, y: float) -> str | None:
        """Return the section a point in the plate's frame belongs to, None beyond the rim."""
        if np.hypot(x, y) >= self.inner_radius:
            return None
        angle = np.arctan2(y, x) % (2 * np.pi)
        return next(section.name for section in self.sections if section.start <= angle < section.end)

    def middle_of(self, name: str) -> np.ndarray:
        """Return a point `(2,)`, m, well within a section, in the plate's frame."""
        section = next(section for section in self.sections if section.name == name)
        angle = (section.start + section.end) / 2
        return self.inner_radius / 2 * np.array([np.cos(angle), np.sin(angle)])


@dataclass(frozen=True)
class Category:
    """A kind of object; a scene holds at most one of each.

    Attributes:
        name: As in tasks.yaml.
        probability: That a scene holds one.
        mass: kg.
        shapes: About the object's centre.
        resting: Orientations (rpy, rad) it can lie in; one is drawn, then turned about the vertical.
        rolls: Whether contacts need resistance to rolling.
    """

    name: str
    probability: float
    mass: float
    shapes: tuple[Shape, ...]
    resting: tuple[Vector, ...] = (ORIGIN,)
    rolls: bool = False


@dataclass(frozen=True)
class Cloth:
    """A cloth: strips of thin plate side by side along its x axis, joined by hinges along y that springs keep creased.

    It lies flat but for one fold, two neighbouring strips that lean on each other like a roof: a gripper can pinch it.

    Attributes:
        name: As in the task file, beside the categories.
        strips: Number of strips.
        strip: Lengths of one along x, y and z, m.
        mass: kg.
        colours: Of the strips, taking turns.
        folds: Hinges, counted from 0, that can be the top of the fold; one is drawn for each scene.
        slope: Smallest and largest slope of the fold's sides, rad.
        stiffness: Of a hinge's spring, N m/rad.
        damping: Of a hinge, N m s/rad.
    """

    name: str
    strips: int
    strip: Vector
    mass: float
    colours: tuple[Colour, ...]
    folds: tuple[int, ...]
    slope: tuple[float, float]
    stiffness: float
    damping: float


@dataclass(frozen=True)
class Camera:
    """A camera, looking from `position` at `target`, its picture's upper edge towards `up`.

    Attributes:
        name: As in the cell's configuration.
        link: Link it is mounted on; positions are in that link's frame.
        position: m.
        target: Point in the middle of the picture, m.
        up: Direction.
        field_of_view: Of the square picture, rad.
    """

    name: str
    link: str
    position: Vector
    target: Vector
    up: Vector
    field_of_view: float

    @property
    def axes(self) -> np.ndarray:
        """The picture's right and up, and backward, as columns `(3, 3)` in the link's frame."""
        backward = np.subtract(self.position, self.target)
        backward /= np.linalg.norm(backward)
        right = np.cross(self.up, backward)
        right /= np.linalg.norm(right)
        return np.column_stack([right, np.cross(backward, right), backward])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where points `(N, 3)`, m, in the link's frame, are in the picture.

        Returns:
            `(N, 2)`, column and row as shares of the picture.
        """
        right, up, backward = ((points - np.array(self.position)) @ self.axes).T
        scale = 2 * np.tan(self.field_of_view / 2) * -backward
        return np.column_stack([0.5 + right / scale, 0.5 - up / scale])


@dataclass(frozen=True)
class CellTable:
    """Everything that stands in the cell; the cloth, where there is one, only in scenes that ask for it."""

    arm: Arm
    bins: tuple[Bin, ...]
    plate: Plate
    categories: tuple[Category, ...]
    cameras: tuple[Camera, ...]
    table_colour: Colour
    cloth: Cloth | None = None

    @property
    def object_names(self) -> tuple[str, ...]:
        """Names of everything that a scene can be asked to hold."""
        return (*(category.name for category in self.categories), *((self.cloth.name,) if self.cloth else ()))

    def bin(self, name: str) -> Bin:
        """Return the bin of that name."""
        return next(one for one in self.bins if one.name == name)

    def category(self, name: str) -> Category:
        """Return the category of that name."""
        return next(one for one in self.categories if one.name == name)

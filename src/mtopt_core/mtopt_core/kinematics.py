"""Forward and inverse kinematics of a serial arm read from its URDF, for a gripper that points straight down."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from mtopt_core.errors import KinematicsError

POSITION_TOLERANCE = 1e-4
ROTATION_TOLERANCE = 1e-3
MAX_ITERATIONS = 60
DAMPING = 1e-4
# A constant pull towards the rest posture keeps the iteration from settling; one that decays does not.
PULL, PULL_DECAY = 0.05, 0.85
MAX_JOINT_CHANGE = 0.5
DOWN = np.diag([1.0, -1.0, -1.0])


def rotation_from_rpy(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Return the `(3, 3)` rotation of URDF's roll, pitch, yaw, rad (fixed axes x, y, z)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip


def downward(yaw: float) -> np.ndarray:
    """Return the rotation `(3, 3)` of a gripper that points down, turned by `yaw`, rad, about the vertical."""
    return rotation_from_rpy(0.0, 0.0, yaw) @ DOWN


@dataclass(frozen=True)
class Limits:
    """Limits of the arm's joints, each `(J,)`: positions rad, speeds rad/s."""

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray


class Kinematics:
    """A chain of revolute joints from a base to a tip frame.

    Attributes:
        joint_names: Base to tip.
        limits: Of those joints.
        rest: `(J,)`, rad, the middle of their ranges: the posture spare degrees of freedom are pulled towards.
    """

    def __init__(self, joint_names: tuple[str, ...], limits: Limits, chain: _Chain) -> None:
        self.joint_names = joint_names
        self.limits = limits
        self.rest = (limits.lower + limits.upper) / 2
        self._chain = chain

    @classmethod
    def from_urdf(cls, text: str, base: str = 'base', tip: str = 'tip') -> Kinematics:
        """Read the chain between two links of a URDF.

        Args:
            text: The URDF.
            base: Link poses are expressed in.
            tip: Link between the fingertips.

        Raises:
            KinematicsError: No URDF, no such chain, or a joint in it that is neither fixed nor revolute.
        """
        joints = _joints_between(text, base, tip)
        transforms, axes, names, limits = [], [], [], []
        pending = np.eye(4)
        for joint in joints:
            pending = pending @ _origin(joint)
            kind, name = joint.get('type'), joint.get('name', '')
            if kind == 'fixed':
                continue
            limit = joint.find('limit')
            if kind != 'revolute' or limit is None:
                raise KinematicsError(
                    f'URDF joint {name} is {kind}; between {base} and {tip} only revolute joints with limits will do'
                )
            axis = joint.find('axis')
            transforms.append(pending)
            axes.append(_floats(axis.get('xyz') if axis is not None else '1 0 0'))
            names.append(name)
            limits.append([float(limit.get(key, 'nan')) for key in ('lower', 'upper', 'velocity')])
            pending = np.eye(4)
        if not names:
            raise KinematicsError(f'URDF: no joint moves between {base} and {tip}')
        lower, upper, velocity = np.array(limits).T
        return cls(
            tuple(names),
            Limits(lower, upper, velocity),
            _Chain(np.array(transforms), np.array(axes), pending),
        )

    def forward(self, joint_positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tip's position `(3,)`, m, and rotation `(3, 3)` in the base frame."""
        *_, pose = self._chain.frames(joint_positions)
        return pose[:3, 3].copy(), pose[:3, :3].copy()

    def yaw(self, joint_positions: np.ndarray) -> float:
        """Return the gripper's rotation about the vertical, rad in (-pi, pi]."""
        _, rotation = self.forward(joint_positions)
        return float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    def inverse(self, start: np.ndarray, position: np.ndarray, yaw: float) -> np.ndarray:
        """Find joint positions near `start` that put the tip at a pose, pointing straight down.

        Damped least squares; spare freedom is pulled towards the rest posture, ever more weakly. Tried again from
        the rest posture when the first start leads nowhere.

        Args:
            start: `(J,)` rad, where the arm is.
            position: `(3,)` m, of the tip in the base frame.
            yaw: rad.

        Returns:
            `(J,)` rad, within the limits; the tip is within 0.1 mm and 1 mrad.

        Raises:
            KinematicsError: The pose cannot be reached.
        """
        target = np.eye(4)
        target[:3, :3], target[:3, 3] = downward(yaw), position
        for guess in (start, self.rest):
            solution = self._descend(np.array(guess, float), target)
            if solution is not None:
                return solution
        where = ', '.join(f'{value:.3f}' for value in position)
        raise KinematicsError(f'the arm cannot reach ({where}) m with yaw {yaw:.2f} rad; choose a pose nearer the base')

    def _descend(self, joints: np.ndarray, target: np.ndarray) -> np.ndarray | None:
        pull = PULL
        for _ in range(MAX_ITERATIONS):
            error, jacobian = self._chain.error_and_jacobian(joints, target)
            if np.abs(error[:3]).max() < POSITION_TOLERANCE and np.abs(error[3:]).max() < ROTATION_TOLERANCE:
                return joints
            spare = pull * (self.rest - joints)
            gram = jacobian @ jacobian.T
            gram.flat[::7] += DAMPING
            change = spare + jacobian.T @ np.linalg.solve(gram, error - jacobian @ spare)
            largest = np.abs(change).max()
            if largest > MAX_JOINT_CHANGE:
                change *= MAX_JOINT_CHANGE / largest
            joints = np.minimum(np.maximum(joints + change, self.limits.lower), self.limits.upper)
            pull *= PULL_DECAY
        return None


class _Chain:
    """The arm as arrays: joint i's transform is `constant + sin(q) sine + (1 - cos(q)) cosine` (Rodrigues)."""

    def __init__(self, transforms: np.ndarray, axes: np.ndarray, tip: np.ndarray) -> None:
        axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        cross = np.zeros_like(transforms)
        cross[:, [2, 0, 1], [1, 2, 0]] = axes
        cross[:, [1, 2, 0], [2, 0, 1]] = -axes
        self._constant = transforms
        self._sine = transforms @ cross
        self._cosine = transforms @ cross @ cross
        self._axes = axes
        self._tip = tip

    def frames(self, joints: np.ndarray) -> list[np.ndarray]:
        """Return the poses `(4, 4)` of every joint's moving frame and of the tip, in the base frame."""
        sine, cosine = np.sin(joints)[:, None, None], (1 - np.cos(joints))[:, None, None]
        local = self._constant + sine * self._sine + cosine * self._cosine
        pose, poses = local[0], [local[0]]
        for transform in local[1:]:
            pose = pose @ transform
            poses.append(pose)
        return [*poses, pose @ self._tip]

    def error_and_jacobian(self, joints: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is missing to `target` `(6,)` (m, rad) and the geometric Jacobian `(6, J)`."""
        *frames, tip = self.frames(joints)
        stacked = np.array(frames)
        axes = (stacked[:, :3, :3] @ self._axes[:, :, None])[:, :, 0]
        arms = tip[:3, 3] - stacked[:, :3, 3]
        jacobian = np.empty((6, len(joints)))
        jacobian[:3] = (axes[:, [1, 2, 0]] * arms[:, [2, 0, 1]] - axes[:, [2, 0, 1]] * arms[:, [1, 2, 0]]).T
        jacobian[3:] = axes.T
        turn = target[:3, :3] @ tip[:3, :3].T
        # The vector has the length of twice the angle's sine: rescaled to the angle, so that half turns are seen too.
        vector = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        length = np.sqrt(vector @ vector)
        angle = np.arctan2(length, turn.trace() - 1)
        error = np.empty(6)
        error[:3] = target[:3, 3] - tip[:3, 3]
        error[3:] = vector * (angle / length if length > 1e-9 else 0.5)
        return error, jacobian


def _joints_between(text: str, base: str, tip: str) -> list[ElementTree.Element]:
    try:
        robot = ElementTree.fromstring(text)  # noqa: S314 (the robot's own description, not a stranger's)
    except ElementTree.ParseError as error:
        raise KinematicsError(f'the URDF is not XML: {error}') from None
    by_child = {_link(joint, 'child'): joint for joint in robot.findall('joint')}
    joints: list[ElementTree.Element] = []
    link = tip
    while link != base:
        if link not in by_child:
            raise KinematicsError(f'URDF: no chain of joints leads from {base} to {tip}; it breaks at link {link}')
        joints.insert(0, by_child[link])
        link = _link(by_child[link], 'parent')
    return joints


def _link(joint: ElementTree.Element, role: str) -> str:
    element = joint.find(role)
    if element is None:
        raise KinematicsError(f'URDF joint {joint.get("name")} has no {role}')
    return element.get('link', '')


def _floats(text: str | None) -> np.ndarray:
    return np.array([float(word) for word in (text or '0 0 0').split()])


def _origin(joint: ElementTree.Element) -> np.ndarray:
    transform = np.eye(4)
    origin = joint.find('origin')
    if origin is not None:
        transform[:3, :3] = rotation_from_rpy(*_floats(origin.get('rpy')))
        transform[:3, 3] = _floats(origin.get('xyz'))
    return transform

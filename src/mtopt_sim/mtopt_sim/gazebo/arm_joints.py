"""The arm's joints in Gazebo: read from the poses of its links, and told where to go."""

from __future__ import annotations

import numpy as np

from mtopt_core.description.parts import Arm, Joint, Motion
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_sim.gazebo.joint_commands import Gain
from mtopt_sim.gazebo.models import FINGER_D_GAIN, FINGER_STIFFNESS, STIFFNESS, joint_zeros, link_poses
from mtopt_sim.gazebo.poses import pose_of
from mtopt_sim.gazebo.simulation import Simulation


class ArmJoints:
    """Joints of one arm, in whichever simulation it stands.

    Args:
        arm: The arm.

    Attributes:
        gains: How hard each joint is drawn to its target.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._zeros = joint_zeros(arm)
        self._revolute = [joint for joint in arm.joints if joint.motion is Motion.REVOLUTE]
        self._fingers = [joint for joint in arm.joints if joint.motion is Motion.PRISMATIC]
        self._tip_joint = next(joint for joint in arm.joints if joint.child == arm.tip)
        self._start_poses = link_poses(arm, self._zeros)
        gains = {joint.name: Gain(gain) for joint, gain in zip(self._revolute, STIFFNESS.tolist(), strict=True)}
        self.gains = gains | {joint.name: Gain(FINGER_STIFFNESS, FINGER_D_GAIN) for joint in self._fingers}

    def targets(self, joints: np.ndarray, finger: float) -> dict[str, float]:
        """Return positions `(7,)`, rad, and of each finger, m, in Gazebo's terms, by joint."""
        wanted = {joint.name: float(value) for joint, value in zip(self._revolute, joints, strict=True)}
        wanted |= {joint.name: finger for joint in self._fingers}
        return {name: value - self._zeros[name] for name, value in wanted.items()}

    def positions(self, simulation: Simulation, near: np.ndarray, before: bool = False) -> np.ndarray:
        """Return the joints base to tip, `(7,)` rad.

        Args:
            simulation: Where the arm stands.
            near: Where it was sent, `(7,)` rad: of angles that differ by whole turns the nearest is meant.
            before: One interval ago.
        """
        angles = []
        for joint in self._revolute:
            turn = self._relative(simulation, joint, before)[:3, :3]
            angles.append(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))
        return near + (np.array(angles) - near + np.pi) % (2 * np.pi) - np.pi

    def gripper_width(self, simulation: Simulation) -> float:
        """Return the gap between the fingers, m."""
        return sum(float(self._relative(simulation, joint)[:3, 3] @ joint.axis) for joint in self._fingers)

    def tip(self, simulation: Simulation) -> np.ndarray:
        """Return the pose `(4, 4)` of the gripper's tip in the base frame."""
        return self.link(simulation, self._tip_joint.parent) @ _origin(self._tip_joint)

    def link(self, simulation: Simulation, name: str, before: bool = False) -> np.ndarray:
        """Return the pose `(4, 4)` of a link in the base frame, now or one interval ago."""
        pose = simulation.pose(f'{self._arm.name}::{name}', before)
        return pose if pose is not None else self._start_poses[name]

    def is_lost(self, simulation: Simulation) -> bool:
        """Return whether the arm's physics have diverged: Gazebo tells what is not a number as zero."""
        return not self.link(simulation, self._tip_joint.parent)[:3, 3].any()

    def _relative(self, simulation: Simulation, joint: Joint, before: bool = False) -> np.ndarray:
        """Return the pose of a joint's child in the joint's own frame."""
        parent = self.link(simulation, joint.parent, before) @ _origin(joint)
        return np.linalg.inv(parent) @ self.link(simulation, joint.child, before)


def _origin(joint: Joint) -> np.ndarray:
    return pose_of(joint.position, rotation_from_rpy(*joint.rpy))

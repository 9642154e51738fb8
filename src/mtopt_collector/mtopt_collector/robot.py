"""The cell's arm as its nodes need it: its kinematics, and how its joint states are read."""

from __future__ import annotations

from mtopt_collector.joint_reading import JointReader
from mtopt_core.description.cell_table import CELL
from mtopt_core.description.parts import Arm
from mtopt_core.description.urdf import urdf_text
from mtopt_core.kinematics import Kinematics


def arm_kinematics(arm: Arm = CELL.arm) -> Kinematics:
    """Return the kinematics of an arm of the table, from base to tip."""
    return Kinematics.from_urdf(urdf_text(arm), arm.base, arm.tip)


def joint_reader(kinematics: Kinematics, arm: Arm = CELL.arm) -> JointReader:
    """Return the reader of an arm's joint states."""
    return JointReader(kinematics.joint_names, arm.finger_joint, arm.finger_open)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mtopt_collector.arm_control import ArmControl, Decision, GripperCommand
from mtopt_collector.command_limits import TIP_SLACK, CommandLimits
from mtopt_collector.joint_reading import JointReading
from mtopt_collector.robot import arm_kinematics
from mtopt_core.configuration import CellConfiguration
from mtopt_core.description.cell_table import ARM
from mtopt_core.episode import Action
from mtopt_core.errors import ActionError
from mtopt_core.step_planner import StepPlanner
from mtopt_core.trajectory import Trajectory

CELL = CellConfiguration()
KINEMATICS = arm_kinematics()
ABOVE = KINEMATICS.inverse(np.array(ARM.home), np.array([0.5, -0.17, 0.15]), 0.0)
LIMITS = CommandLimits(KINEMATICS, CELL, ARM.finger_open)
OPEN = Trajectory.at_rest([0.5], np.array([[ARM.finger_open]]))


def to(offset: np.ndarray | float, time: float = 0.5) -> Trajectory:
    return Trajectory.at_rest([time], (ABOVE + offset)[None])


def joints_at(*position: float) -> np.ndarray:
    return KINEMATICS.inverse(ABOVE, np.array(position), 0.0)


def test_a_command_within_all_limits_passes():
    LIMITS.check(ABOVE, to(0.05), OPEN)


@pytest.mark.parametrize(
    ('arm', 'gripper', 'message'),
    [
        (to(np.nan), OPEN, 'not finite'),
        (to(0.0, np.inf), OPEN, 'not finite'),
        (to(0.0, 0.6), replace(OPEN, times=np.array([0.6])), 'at most a step'),
        (to(0.0, 0.4), OPEN, 'equally long'),
        (to(1.0), OPEN, 'rad/s'),
        (to(0.05, 0.02), replace(OPEN, times=np.array([0.02])), 'rad/s'),
        (replace(to(0.05), velocities=np.full((1, 7), 0.1)), OPEN, 'end at rest'),
        (replace(to(0.05), times=np.array([-0.5])), OPEN, 'do not increase'),
        (replace(to(0.05), positions=np.zeros((1, 6))), OPEN, 'not one position for each joint'),
        (Trajectory(np.zeros(0), np.zeros((0, 7)), np.zeros((0, 7))), OPEN, 'no points'),
        (to(0.0), replace(OPEN, positions=np.array([[0.5]])), 'fingers'),
        (to(0.0), replace(OPEN, positions=np.array([[-0.01]])), 'fingers'),
    ],
)
def test_a_command_that_breaks_a_limit_is_stopped_and_the_limit_named(arm, gripper, message):
    with pytest.raises(ActionError, match=message):
        LIMITS.check(ABOVE, arm, gripper)


def test_a_command_out_of_the_workspace_is_stopped():
    edge, beyond = joints_at(0.71, -0.17, 0.15), joints_at(0.74, -0.17, 0.15)
    with pytest.raises(ActionError, match='outside the workspace'):
        LIMITS.check(edge, Trajectory.at_rest([0.5], beyond[None]), OPEN)


def test_an_arm_that_was_pushed_out_of_its_workspace_may_stay_and_come_back_but_not_go_on():
    edge, beyond, farther = (joints_at(x, -0.17, 0.15) for x in (0.71, 0.74, 0.76))
    LIMITS.check(beyond, Trajectory.at_rest([0.5], beyond[None]), OPEN)
    LIMITS.check(beyond, Trajectory.at_rest([0.5], edge[None]), OPEN)
    with pytest.raises(ActionError, match='outside the workspace'):
        LIMITS.check(beyond, Trajectory.at_rest([0.5], farther[None]), OPEN)


def test_whatever_arrives_what_leaves_keeps_every_limit():
    """A thousand decisions and moves, sane, huge, not finite, repeated and late, from wherever the last one led."""
    rng = np.random.default_rng(0)
    control = ArmControl(StepPlanner(KINEMATICS, CELL), LIMITS, CELL.step.duration, 1.0, 0.0)
    stamp, joints, sent, refused = 10**9, ABOVE, 0, 0
    values = [0.0, 0.03, -0.08, 0.5, -3.0, 1e9, np.inf, -np.inf, np.nan]
    chances = np.array([4, 8, 8, 2, 2, 1, 0.3, 0.3, 0.3]) / 25.9
    lower, upper = np.array(CELL.limits.workspace_min), np.array(CELL.limits.workspace_max)
    for step in range(1000):
        closed = bool(rng.random() < 0.5)
        control.read(JointReading(stamp, joints, 0.0 if closed else 0.08, closed), 0.0)
        draw = rng.choice(values, 4, p=chances)
        try:
            if rng.random() < 0.2:
                goal = rng.uniform([0.2, -0.6, -0.1], [0.9, 0.6, 0.6]) if rng.random() < 0.7 else draw[:3]
                parts = control.plan_move(goal, float(draw[3]), GripperCommand(rng.integers(3)), 0.0)
                commands = [control.follow(parts[0], 0.0)]
            else:
                action = Action(draw[:3], float(draw[3]), bool(rng.random() < 0.1), bool(rng.random() < 0.1))
                late = int(rng.choice([0, 0, 0, -3 * 10**9, 10**9]))
                _, command = control.decide(Decision(action, stamp + late, 'e', step - int(rng.random() < 0.05)), 0.0)
                commands = [command]
        except ActionError:
            refused += 1
            continue
        for command in commands:
            sent += 1
            path, speeds = command.arm.sample(joints, np.linspace(0.0, command.arm.duration, 50))
            assert np.isfinite(path).all()
            assert command.arm.duration <= CELL.step.duration + 1e-9
            assert not command.arm.velocities[-1].any()
            assert (np.abs(speeds) <= KINEMATICS.limits.velocity).all()
            assert (path >= KINEMATICS.limits.lower - 1e-9).all()
            assert (path <= KINEMATICS.limits.upper + 1e-9).all()
            tip, _ = KINEMATICS.forward(path[-1])
            assert np.linalg.norm(tip - np.clip(tip, lower, upper)) <= TIP_SLACK
            stamp, joints = command.end, path[-1]
    assert sent > 300
    assert refused > 100

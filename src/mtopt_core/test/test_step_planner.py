from __future__ import annotations

import numpy as np
import pytest

from mtopt_core.configuration import CellConfiguration
from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN
from mtopt_core.description.urdf import urdf_text
from mtopt_core.episode import Action
from mtopt_core.errors import ActionError
from mtopt_core.kinematics import Kinematics
from mtopt_core.step_planner import StepPlanner
from mtopt_core.workspace import FINGER_REACH, TRAVEL_HEIGHT

CONFIGURATION = CellConfiguration()
KINEMATICS = Kinematics.from_urdf(urdf_text())
PLANNER = StepPlanner(KINEMATICS, CONFIGURATION)
RIGHT, LEFT = CELL.bin(RIGHT_BIN), CELL.bin(LEFT_BIN)


def joints_at(x: float, y: float, z: float, yaw: float = 0.0) -> np.ndarray:
    return KINEMATICS.inverse(np.array(CELL.arm.home), np.array([x, y, z]), yaw)


ABOVE = joints_at(0.5, -0.17, 0.15)


def move(dx: float = 0.0, dy: float = 0.0, dz: float = 0.0, yaw: float = 0.0, **choices: bool) -> Action:
    return Action(np.array([dx, dy, dz]), yaw, **choices)


def tip_after(plan) -> np.ndarray:
    return KINEMATICS.forward(plan.arm.positions[-1])[0]


def test_a_step_goes_where_it_is_told_in_the_time_it_is_given_and_ends_at_rest():
    plan = PLANNER.plan(ABOVE, move(0.05, -0.03, -0.06, yaw=0.4), gripper_closed=False)
    assert tip_after(plan) == pytest.approx([0.55, -0.20, 0.09], abs=3e-4)
    assert KINEMATICS.yaw(plan.arm.positions[-1]) == pytest.approx(0.4, abs=3e-3)
    assert plan.displacement == pytest.approx([0.05, -0.03, -0.06], abs=1e-3)
    assert plan.yaw_change == pytest.approx(0.4, abs=3e-3)
    assert plan.reason == ''
    assert plan.arm.duration == plan.gripper.duration == CONFIGURATION.step.duration
    assert not plan.arm.velocities[-1].any()
    assert len(plan.arm.times) == 1


def test_what_exceeds_the_step_is_clipped_and_said():
    plan = PLANNER.plan(ABOVE, move(0.5, yaw=-2.0), gripper_closed=False)
    assert plan.displacement[0] <= CONFIGURATION.step.max_displacement + 1e-9
    assert plan.yaw_change >= -CONFIGURATION.step.max_yaw_change - 1e-9
    assert 'step limits' in plan.reason


def test_the_tip_stays_in_the_workspace():
    low = joints_at(0.5, -0.17, 0.02)
    plan = PLANNER.plan(low, move(dz=-0.1), gripper_closed=False)
    assert tip_after(plan)[2] == pytest.approx(CONFIGURATION.limits.workspace_min[2], abs=3e-4)
    assert 'workspace' in plan.reason


def test_the_hand_turns_only_as_far_as_every_place_allows():
    joints = ABOVE
    for _ in range(8):
        joints = PLANNER.plan(joints, move(yaw=0.5), gripper_closed=False).arm.positions[-1]
    assert KINEMATICS.yaw(joints) == pytest.approx(2.0, abs=3e-3)


def test_joints_keep_their_limits_whatever_is_asked():
    rng = np.random.default_rng(0)
    speed = CONFIGURATION.limits.joint_speed * KINEMATICS.limits.velocity
    for start in (ABOVE, joints_at(0.64, -0.3, 0.4, 1.5), joints_at(0.4, 0.05, 0.01, -1.9)):
        joints = start
        for _ in range(40):
            plan = PLANNER.plan(joints, move(*rng.normal(0, 0.1, 3), yaw=rng.normal(0, 0.5)), gripper_closed=False)
            _, velocities = plan.arm.sample(joints, np.linspace(0, 0.5, 50))
            assert np.all(np.abs(velocities) <= speed + 1e-6)
            joints = plan.arm.positions[-1]
            assert np.all(joints >= KINEMATICS.limits.lower)
            assert np.all(joints <= KINEMATICS.limits.upper)


def wall_gap(tip: np.ndarray, yaw: float) -> float:
    """How far open fingers at a tip pose are from the nearest wall, m; negative inside it; none above the rim."""
    if tip[2] >= RIGHT.wall_height:
        return np.inf
    along, across = FINGER_REACH
    reach = np.abs([along * np.cos(yaw), along * np.sin(yaw)]) + np.abs([across * np.sin(yaw), across * np.cos(yaw)])
    gaps = [np.min(np.array(one.inside) / 2 - reach - np.abs(tip[:2] - one.centre)) for one in CELL.bins]
    return max(gaps)


def test_no_step_runs_the_fingers_into_a_wall():
    rng = np.random.default_rng(3)
    low = 0
    for start in (RIGHT, LEFT) * 6:
        joints = joints_at(*start.centre, 0.15)
        for _ in range(30):
            plan = PLANNER.plan(joints, move(*rng.normal((0, 0, -0.03), 0.06), yaw=rng.normal(0, 0.4)), False)
            path, _ = plan.arm.sample(joints, np.linspace(0, 0.5, 9))
            for sample in path:
                tip, _ = KINEMATICS.forward(sample)
                low += tip[2] < RIGHT.wall_height
                # The joints' path bows a little where the tip's is straight.
                assert wall_gap(tip, KINEMATICS.yaw(sample)) > -0.010
            joints = plan.arm.positions[-1]
            assert wall_gap(KINEMATICS.forward(joints)[0], KINEMATICS.yaw(joints)) > -1e-3
    assert low > 500


@pytest.mark.parametrize('height', [0.03, 0.10, 0.20])
def test_below_travel_height_the_tip_keeps_to_its_bin(height):
    joints = joints_at(*RIGHT.centre, height)
    for _ in range(4):
        joints = PLANNER.plan(joints, move(dx=0.03, dy=0.1), gripper_closed=False).arm.positions[-1]
    tip = KINEMATICS.forward(joints)[0]
    assert RIGHT.contains(tip[0], tip[1])
    assert tip[1] > RIGHT.centre[1] + 0.07


def test_at_travel_height_the_tip_changes_bins():
    joints = joints_at(*RIGHT.centre, TRAVEL_HEIGHT + 0.02)
    for _ in range(4):
        joints = PLANNER.plan(joints, move(dy=0.1), gripper_closed=False).arm.positions[-1]
    assert LEFT.contains(*KINEMATICS.forward(joints)[0][:2])


def test_fingers_that_reach_over_a_wall_come_in_before_they_go_down():
    over_wall = joints_at(0.5, RIGHT.centre[1] + 0.13, 0.07)
    plan = PLANNER.plan(over_wall, move(dz=-0.06), gripper_closed=False)
    assert tip_after(plan)[2] > RIGHT.wall_height
    further_in = joints_at(0.5, RIGHT.centre[1] + 0.08, 0.07)
    assert tip_after(PLANNER.plan(further_in, move(dz=-0.06), gripper_closed=False))[2] < 0.02


def test_from_outside_the_bins_the_fingers_stay_above_the_rim():
    between = joints_at(0.5, 0.0, 0.10)
    plan = PLANNER.plan(between, move(dy=0.04, dz=-0.1), gripper_closed=False)
    assert tip_after(plan)[2] > RIGHT.wall_height


@pytest.mark.parametrize(
    'action',
    [move(np.nan), move(yaw=np.inf), move(close_gripper=True, open_gripper=True), Action(np.zeros(2))],
    ids=['nan', 'infinite', 'close and open', 'two numbers'],
)
def test_actions_that_make_no_sense_are_rejected(action):
    with pytest.raises(ActionError):
        PLANNER.plan(ABOVE, action, gripper_closed=False)


def test_out_of_reach_the_arm_holds_and_says_so():
    edge = joints_at(0.64, -0.31, 0.44, 0.0)
    joints = edge
    for _ in range(6):
        plan = PLANNER.plan(joints, move(0.1, -0.1, 0.1), gripper_closed=False)
        joints = plan.arm.positions[-1]
    assert 'held' in plan.reason
    assert plan.displacement == pytest.approx(np.zeros(3))


def test_terminate_moves_neither_arm_nor_fingers():
    plan = PLANNER.plan(ABOVE, move(0.1, terminate=True, open_gripper=True), gripper_closed=True)
    assert plan.arm.positions[-1] == pytest.approx(ABOVE, abs=1e-3)
    assert plan.gripper_closed
    assert not plan.displacement.any()


@pytest.mark.parametrize(
    ('choice', 'before', 'after'),
    [('close_gripper', False, True), ('open_gripper', True, False), ('', True, True), ('', False, False)],
)
def test_the_gripper_is_where_it_shall_be_before_the_step_ends_and_stays(choice, before, after):
    plan = PLANNER.plan(ABOVE, move(**({choice: True} if choice else {})), gripper_closed=before)
    assert plan.gripper_closed is after
    goal = 0.0 if after else CELL.arm.finger_open
    assert plan.gripper.positions[:, 0] == pytest.approx([goal, goal])
    assert plan.gripper.times[0] < plan.gripper.times[-1]


def test_a_move_rises_crosses_above_the_walls_and_descends():
    goal = np.array([0.55, 0.2, 0.12])
    trajectory = PLANNER.plan_move(joints_at(0.5, -0.17, 0.02), goal, 1.0)
    tips = np.array([KINEMATICS.forward(joints)[0] for joints in trajectory.positions])
    assert tips[-1] == pytest.approx(goal, abs=3e-4)
    assert tips[0] == pytest.approx([0.5, -0.17, 0.22], abs=3e-4)
    path, velocities = trajectory.sample(joints_at(0.5, -0.17, 0.02), np.linspace(0, trajectory.duration, 100))
    heights = [KINEMATICS.forward(joints)[0] for joints in path]
    assert all(tip[2] > RIGHT.wall_height for tip in heights if abs(tip[1]) < 0.05)
    assert np.all(np.abs(velocities) <= CONFIGURATION.limits.joint_speed * KINEMATICS.limits.velocity + 1e-6)


@pytest.mark.parametrize(('y', 'height'), [(0.0, 0.01), (RIGHT.centre[1] + 0.12, 0.03)], ids=['between', 'at a wall'])
def test_a_move_into_a_wall_is_refused(y, height):
    with pytest.raises(ActionError, match='into a wall'):
        PLANNER.plan_move(ABOVE, np.array([0.5, y, height]), 0.0)
    assert PLANNER.plan_move(ABOVE, np.array([0.5, y, 0.07]), 0.0).duration > 0


def test_a_move_down_between_the_walls_is_not_refused():
    assert PLANNER.plan_move(joints_at(*LEFT.centre, 0.02), np.array([*RIGHT.centre, 0.01]), 0.7).duration > 0


def test_a_move_to_where_the_arm_is_still_takes_a_moment():
    position = KINEMATICS.forward(ABOVE)[0] + (0, 0, 0.1)
    joints = KINEMATICS.inverse(ABOVE, position, 0.0)
    assert PLANNER.plan_move(joints, position, 0.0).duration > 0


@pytest.mark.parametrize('goal', [(0.5, 0.9, 0.2), (np.nan, 0.0, 0.2), (0.719, 0.419, 0.449)])
def test_moves_out_of_the_workspace_are_refused(goal):
    with pytest.raises(ActionError):
        PLANNER.plan_move(ABOVE, np.array(goal), 0.0)

from __future__ import annotations

import math

import numpy as np
import pytest

from mtopt_collector.arm_control import LOST_AFTER, ArmControl, Command, Decision, GripperCommand, Part
from mtopt_collector.command_limits import CommandLimits
from mtopt_collector.joint_reading import JointReading
from mtopt_collector.robot import arm_kinematics
from mtopt_core.configuration import CellConfiguration
from mtopt_core.description.cell_table import ARM
from mtopt_core.episode import Action
from mtopt_core.errors import ActionError
from mtopt_core.step_planner import StepPlanner

CELL = CellConfiguration()
KINEMATICS = arm_kinematics()
ABOVE_RIGHT_BIN = KINEMATICS.inverse(np.array(ARM.home), np.array([0.5, -0.17, 0.15]), 0.0)
SECOND = 1_000_000_000
STEP = round(CELL.step.duration * SECOND)


def reading(stamp: int, closed: bool = False, positions: np.ndarray = ABOVE_RIGHT_BIN) -> JointReading:
    return JointReading(stamp, positions, 0.0 if closed else 0.08, closed)


def decision(stamp: int, step: int = 0, episode: str = 'e', **action) -> Decision:
    return Decision(Action(**{'displacement': np.array([0.02, 0.0, -0.03]), **action}), stamp, episode, step)


@pytest.fixture
def control() -> ArmControl:
    control = new_control()
    control.read(reading(SECOND), now=0.0)
    return control


def new_control(joint_state_timeout: float = 0.0) -> ArmControl:
    limits = CommandLimits(KINEMATICS, CELL, ARM.finger_open)
    return ArmControl(StepPlanner(KINEMATICS, CELL), limits, CELL.step.duration, 1.0, joint_state_timeout)


def run(control: ArmControl, command: Command) -> None:
    control.read(reading(command.end, positions=command.arm.positions[-1]), now=0.0)


def test_a_step_moves_the_tip_by_the_displacement_and_ends_at_rest(control):
    planned, command = control.decide(decision(SECOND), now=0.0)
    assert command.end - command.start == STEP
    assert command.arm.duration == command.gripper.duration == CELL.step.duration
    before, after = (KINEMATICS.forward(q)[0] for q in (ABOVE_RIGHT_BIN, command.arm.positions[-1]))
    assert np.allclose(after - before, planned.displacement, atol=5e-4)
    assert not command.arm.velocities[-1].any()


@pytest.mark.parametrize('action', [{'displacement': np.array([0, math.nan, 0])}, {'yaw_change': math.inf}])
def test_an_action_that_is_not_finite_is_rejected_and_the_next_one_runs(control, action):
    with pytest.raises(ActionError, match='finite'):
        control.decide(decision(SECOND, **action), now=0.0)
    assert control.decide(decision(SECOND), now=0.0)[1] is not None


def test_nothing_is_accepted_before_the_first_joint_state():
    control = new_control()
    with pytest.raises(ActionError, match='no joint state'):
        control.decide(decision(SECOND), now=0.0)


def test_a_repeated_action_is_rejected(control):
    run(control, control.decide(decision(SECOND), now=0.0)[1])
    with pytest.raises(ActionError, match='repeated or out of order'):
        control.decide(decision(SECOND + STEP, step=0), now=0.0)


def test_the_same_step_of_another_episode_is_no_repetition(control):
    run(control, control.decide(decision(SECOND), now=0.0)[1])
    assert control.decide(decision(SECOND + STEP, step=0, episode='f'), now=0.0)[1] is not None


def test_an_action_decided_before_the_last_step_ended_is_rejected(control):
    command = control.decide(decision(SECOND), now=0.0)[1]
    with pytest.raises(ActionError, match='before the last step ended'):
        control.decide(decision(SECOND + 1, step=1), now=0.1)
    run(control, command)
    assert control.decide(decision(SECOND + STEP, step=1), now=0.2)[1] is not None


def test_an_action_on_an_old_observation_is_rejected(control):
    control.read(reading(3 * SECOND), now=0.0)
    with pytest.raises(ActionError, match=r'2\.00 s old'):
        control.decide(decision(SECOND), now=0.0)


def test_an_action_whose_joint_state_has_not_come_is_not_guessed(control):
    assert not control.knows(2 * SECOND)
    with pytest.raises(ActionError, match='no joint state at or after'):
        control.decide(decision(2 * SECOND), now=0.0)


def test_a_silent_arm_is_not_commanded():
    control = new_control(joint_state_timeout=0.2)
    control.read(reading(SECOND), now=10.0)
    with pytest.raises(ActionError, match=r'0\.50 s old; is the arm running'):
        control.decide(decision(SECOND), now=10.5)


def test_terminating_moves_nothing_and_leaves_the_arm_free(control):
    planned, command = control.decide(decision(SECOND, terminate=True), now=0.0)
    assert command is None
    assert not planned.displacement.any()
    assert control.plan_move(np.array([0.5, 0.17, 0.2]), 0.3, GripperCommand.KEEP, now=0.0)


def test_a_trajectory_lost_with_a_simulator_does_not_block_for_ever(control):
    control.decide(decision(SECOND), now=0.0)
    with pytest.raises(ActionError, match='moves until'):
        control.plan_move(np.array([0.5, 0.17, 0.2]), 0.3, GripperCommand.KEEP, now=LOST_AFTER)
    assert control.plan_move(np.array([0.5, 0.17, 0.2]), 0.3, GripperCommand.KEEP, now=LOST_AFTER + 1)


def test_a_simulator_that_was_restarted_is_followed(control):
    control.read(reading(500 * SECOND), now=0.0)
    control.decide(decision(500 * SECOND, step=7), now=0.0)
    control.read(reading(SECOND), now=0.1)
    assert control.decide(decision(SECOND, step=7), now=0.1)[1] is not None


def carry_out(control: ArmControl, parts: list[Part], start: np.ndarray, closed: bool) -> list[Command]:
    """Follow a move's parts as an arm does that ends each a little short."""
    commands, joints = [], start
    for part in parts:
        command = control.follow(part, now=0.0)
        commands.append(command)
        joints = joints + 0.999 * (command.arm.positions[-1] - joints)
        control.read(reading(command.end, closed, joints), now=0.0)
    return commands


@pytest.mark.parametrize('gripper', list(GripperCommand))
@pytest.mark.parametrize('closed', [True, False])
def test_a_move_goes_up_across_and_down_with_the_gripper_as_told_in_parts_no_longer_than_a_step(
    control, gripper, closed
):
    low = KINEMATICS.inverse(ABOVE_RIGHT_BIN, np.array([0.5, -0.17, 0.08]), 0.0)
    control.read(reading(2 * SECOND, closed, low), now=0.0)
    goal = np.array([0.48, 0.2, 0.12])
    commands = carry_out(control, control.plan_move(goal, 0.4, gripper, now=0.0), low, closed)
    heights, halfway = [], []
    joints = low
    for command in commands:
        assert command.arm.duration == command.gripper.duration <= CELL.step.duration
        assert (command.end - command.start) % 20_000_000 == 0
        assert not command.arm.velocities[-1].any()
        path, speeds = command.arm.sample(joints, np.arange(0.0, command.arm.duration + 0.01, 0.02))
        assert (np.abs(speeds) <= CELL.limits.joint_speed * KINEMATICS.limits.velocity * 1.001).all()
        tips = np.array([KINEMATICS.forward(each)[0] for each in path])
        heights += tips[:, 2].tolist()
        halfway += (np.abs(tips[:, 1]) < 0.05).tolist()
        joints = command.arm.positions[-1]
    assert np.allclose(KINEMATICS.forward(joints)[0], goal, atol=5e-4)
    fingers_close = {GripperCommand.KEEP: closed, GripperCommand.OPEN: False, GripperCommand.CLOSE: True}[gripper]
    assert {command.gripper.positions[-1, 0] for command in commands} == {0.0 if fingers_close else ARM.finger_open}
    assert min(height for height, half in zip(heights, halfway, strict=True) if half) > 0.15
    if gripper is not GripperCommand.KEEP:
        assert np.allclose(commands[0].arm.positions[-1], low)


def test_a_part_of_a_move_waits_for_the_one_before(control):
    first, second, *_ = control.plan_move(np.array([0.48, 0.2, 0.12]), 0.4, GripperCommand.KEEP, now=0.0)
    control.follow(first, now=0.0)
    with pytest.raises(ActionError, match='moves until'):
        control.follow(second, now=0.0)


def test_an_arm_that_did_not_follow_a_move_is_taken_for_blocked(control):
    parts = control.plan_move(np.array([0.48, 0.2, 0.12]), 0.4, GripperCommand.KEEP, now=0.0)

    def follow_while_the_arm_stands_still() -> None:
        for part in parts:
            control.read(reading(control.follow(part, now=0.0).end), now=0.0)

    with pytest.raises(ActionError, match='blocked'):
        follow_while_the_arm_stands_still()


def test_a_moving_arm_is_held_where_it_was_last_seen_and_a_resting_one_is_left_alone(control):
    assert control.hold(now=0.0) is None
    control.decide(decision(SECOND), now=0.0)
    underway = ABOVE_RIGHT_BIN + 0.01
    control.read(reading(SECOND + STEP // 2, positions=underway), now=0.2)
    command = control.hold(now=0.2)
    assert np.array_equal(command.arm.positions[-1], underway)
    assert not command.arm.velocities[-1].any()
    run(control, command)
    assert control.hold(now=0.8) is None


@pytest.mark.parametrize(
    ('opens', 'width', 'held'), [(True, 0.04, 0.02), (True, 0.09, 0.04), (True, -0.0004, 0.0), (False, 0.04, 0.0)]
)
def test_fingers_that_open_are_held_where_they_are_and_a_grasp_is_kept(control, opens, width, held):
    control.read(reading(SECOND, closed=opens), now=0.0)
    control.decide(decision(SECOND, open_gripper=opens, close_gripper=not opens), now=0.0)
    halfway = JointReading(SECOND + STEP // 2, ABOVE_RIGHT_BIN, width, gripper_closed=True)
    control.read(halfway, now=0.2)
    assert control.hold(now=0.2).gripper.positions[-1, 0] == pytest.approx(held)


def test_a_joint_state_that_comes_late_does_not_make_a_moving_arm_one_that_rests(control):
    control.decide(decision(SECOND), now=0.0)
    underway = ABOVE_RIGHT_BIN + 0.01
    control.read(reading(SECOND + STEP // 2, positions=underway), now=0.2)
    control.read(reading(SECOND + STEP // 2 - 1), now=0.2)
    assert np.array_equal(control.hold(now=0.2).arm.positions[-1], underway)
    with pytest.raises(ActionError, match='repeated or out of order'):
        control.decide(decision(SECOND), now=0.2)


def test_a_move_out_of_the_workspace_is_refused(control):
    with pytest.raises(ActionError, match='workspace'):
        control.plan_move(np.array([0.9, 0.0, 0.2]), 0.0, GripperCommand.KEEP, now=0.0)

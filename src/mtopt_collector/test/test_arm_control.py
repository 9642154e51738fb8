from __future__ import annotations

import math

import numpy as np
import pytest

from mtopt_collector.arm_control import LOST_AFTER, ArmControl, Command, Decision, GripperCommand
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
    control = ArmControl(StepPlanner(KINEMATICS, CELL), max_observation_age=1.0, joint_state_timeout=0.0)
    control.read(reading(SECOND), now=0.0)
    return control


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
    control = ArmControl(StepPlanner(KINEMATICS, CELL), max_observation_age=1.0, joint_state_timeout=0.0)
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
    control = ArmControl(StepPlanner(KINEMATICS, CELL), max_observation_age=1.0, joint_state_timeout=0.2)
    control.read(reading(SECOND), now=10.0)
    with pytest.raises(ActionError, match=r'0\.50 s old; is the arm running'):
        control.decide(decision(SECOND), now=10.5)


def test_terminating_moves_nothing_and_leaves_the_arm_free(control):
    planned, command = control.decide(decision(SECOND, terminate=True), now=0.0)
    assert command is None
    assert not planned.displacement.any()
    assert control.move(np.array([0.5, 0.17, 0.2]), 0.3, GripperCommand.KEEP, now=0.0)


def test_a_trajectory_lost_with_a_simulator_does_not_block_for_ever(control):
    control.decide(decision(SECOND), now=0.0)
    with pytest.raises(ActionError, match='moves until'):
        control.move(np.array([0.5, 0.17, 0.2]), 0.3, GripperCommand.KEEP, now=LOST_AFTER)
    assert control.move(np.array([0.5, 0.17, 0.2]), 0.3, GripperCommand.KEEP, now=LOST_AFTER + 1)


def test_a_simulator_that_was_restarted_is_followed(control):
    control.read(reading(500 * SECOND), now=0.0)
    control.decide(decision(500 * SECOND, step=7), now=0.0)
    control.read(reading(SECOND), now=0.1)
    assert control.decide(decision(SECOND, step=7), now=0.1)[1] is not None


@pytest.mark.parametrize('gripper', list(GripperCommand))
@pytest.mark.parametrize('closed', [True, False])
def test_a_move_goes_up_across_and_down_with_the_gripper_as_told(control, gripper, closed):
    low = KINEMATICS.inverse(ABOVE_RIGHT_BIN, np.array([0.5, -0.17, 0.08]), 0.0)
    control.read(reading(2 * SECOND, closed, low), now=0.0)
    goal = np.array([0.48, 0.2, 0.12])
    command = control.move(goal, 0.4, gripper, now=0.0)
    assert command.arm.duration == command.gripper.duration
    assert (command.end - command.start) % 20_000_000 == 0
    assert np.allclose(KINEMATICS.forward(command.arm.positions[-1])[0], goal, atol=5e-4)
    fingers_close = {GripperCommand.KEEP: closed, GripperCommand.OPEN: False, GripperCommand.CLOSE: True}[gripper]
    assert command.gripper.positions[-1, 0] == (0.0 if fingers_close else ARM.finger_open)
    path, _ = command.arm.sample(low, np.arange(0.0, command.arm.duration, 0.02))
    heights = np.array([KINEMATICS.forward(joints)[0][2] for joints in path])
    halfway = np.argmax([abs(KINEMATICS.forward(joints)[0][1]) < 0.05 for joints in path])
    assert heights[halfway] > 0.15
    if gripper is not GripperCommand.KEEP:
        assert np.allclose(path[: int(CELL.step.duration / 0.02)], low, atol=1e-6)


def test_a_short_move_leaves_the_gripper_no_more_time_than_the_arm_takes(control):
    position, _ = KINEMATICS.forward(ABOVE_RIGHT_BIN)
    control.read(reading(2 * SECOND, closed=True), now=0.0)
    command = control.move(np.array([*position[:2], 0.22]), 0.0, GripperCommand.KEEP, now=0.0)
    assert command.arm.duration == command.gripper.duration
    assert (np.diff(command.gripper.times) > 0).all()


def test_a_move_out_of_the_workspace_is_refused(control):
    with pytest.raises(ActionError, match='workspace'):
        control.move(np.array([0.9, 0.0, 0.2]), 0.0, GripperCommand.KEEP, now=0.0)

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from mtopt_collector.robot import arm_kinematics
from mtopt_core.description.cell_table import ARM
from mtopt_core.episode import Action
from mtopt_msgs import msg
from mtopt_msgs.srv import MoveTo
from mtopt_node.conversions import action_to_message, header, stamp_of
from mtopt_node.qos import COMMANDS

SECOND = 1_000_000_000
KINEMATICS = arm_kinematics()
START = KINEMATICS.inverse(np.array(ARM.home), np.array([0.5, -0.17, 0.15]), 0.0)


class Arm:
    """Plays the arm: says where its joints are, hears what it is told to do, and does it when asked."""

    def __init__(self, graph, **parameters) -> None:
        self.graph = graph
        graph.start('arm_controller', 'mtopt_collector.arm_controller_node', **parameters)
        self.steps = graph.listen(msg.Step, 'step', COMMANDS)
        self.grips = graph.listen(JointTrajectory, 'gripper_trajectory_controller/joint_trajectory', COMMANDS)
        self.moves = graph.listen(JointTrajectory, 'joint_trajectory_controller/joint_trajectory', COMMANDS)
        self.joint_states = graph.publisher(JointState, 'joint_states', COMMANDS)
        self.actions = graph.publisher(msg.Action, 'action', COMMANDS)
        graph.connect()

    def stand(self, stamp: int, joints: np.ndarray = START) -> None:
        names = [*KINEMATICS.joint_names, ARM.finger_joint]
        self.joint_states.publish(JointState(header=header(stamp), name=names, position=[*map(float, joints), 0.04]))

    def act(self, stamp: int, step: int = 0, **action) -> msg.Step:
        before = len(self.steps)
        decided = Action(**{'displacement': np.array([0.02, 0.0, -0.03]), **action})
        self.actions.publish(action_to_message(decided, stamp, 'e', step))
        self.graph.wait_until(lambda: len(self.steps) > before)
        return self.steps[-1]

    def carry_out(self, step: msg.Step) -> None:
        self.graph.wait_until(lambda: self.moves)
        self.stand(stamp_of(step.end), np.array(self.moves[-1].points[-1].positions))


@pytest.fixture
def arm(graph) -> Arm:
    arm = Arm(graph)
    arm.stand(SECOND)
    return arm


def length(trajectory: JointTrajectory) -> float:
    last = trajectory.points[-1].time_from_start
    return last.sec + last.nanosec / SECOND


def test_an_action_becomes_a_step_and_two_trajectories_that_start_at_once_and_end_together(graph, arm):
    step = arm.act(SECOND)
    assert step.accepted
    assert stamp_of(step.end) == SECOND + SECOND // 2
    graph.wait_until(lambda: arm.moves and arm.grips)
    move, grip = arm.moves[0], arm.grips[0]
    assert stamp_of(move.header.stamp) == stamp_of(grip.header.stamp) == 0
    assert length(move) == length(grip) == 0.5
    assert not any(move.points[-1].velocities)
    position, _ = KINEMATICS.forward(np.array(move.points[-1].positions))
    assert np.allclose(position, [0.52, -0.17, 0.12], atol=5e-4)


def test_an_action_that_is_not_a_number_is_rejected_and_the_arm_goes_on(graph, arm):
    rejected = arm.act(SECOND, displacement=np.array([0.0, math.nan, 0.0]))
    assert not rejected.accepted
    assert 'not finite' in rejected.reason
    assert arm.act(SECOND).accepted
    graph.wait_until(lambda: arm.moves)
    assert len(arm.moves) == 1


def test_a_repeated_action_is_rejected(arm):
    arm.carry_out(arm.act(SECOND))
    rejected = arm.act(SECOND + SECOND // 2, step=0)
    assert not rejected.accepted
    assert 'repeated or out of order' in rejected.reason


def test_an_action_waits_for_the_joint_state_it_was_decided_on(arm):
    arm.actions.publish(action_to_message(Action(), 2 * SECOND, 'e', 0))
    time.sleep(0.1)
    assert not arm.steps
    arm.stand(2 * SECOND)
    assert arm.graph.wait_until(lambda: arm.steps)[0].accepted


def test_an_action_whose_joint_state_never_comes_is_rejected(arm):
    rejected = arm.act(2 * SECOND)
    assert not rejected.accepted
    assert 'no joint state at or after' in rejected.reason


def test_a_move_is_answered_when_the_arm_is_at_rest(graph, arm):
    # The first answer proves that the joint state has arrived.
    arm.act(SECOND, terminate=True)
    client = graph.node.create_client(MoveTo, 'arm_controller/move_to')
    assert client.wait_for_service(10)
    future = client.call_async(MoveTo.Request(position=[0.5, 0.17, 0.2], yaw=0.5, gripper=MoveTo.Request.CLOSE))
    graph.wait_until(lambda: arm.moves and arm.grips)
    assert length(arm.moves[0]) == length(arm.grips[0])
    assert arm.grips[0].points[-1].positions[0] == 0.0
    time.sleep(0.1)
    assert not future.done()
    end = SECOND + round(length(arm.moves[0]) * SECOND)
    arm.stand(end, np.array(arm.moves[0].points[-1].positions))
    response = graph.result(future)
    assert response.success
    assert stamp_of(response.stamp) == end


def test_a_move_out_of_the_workspace_is_refused_with_the_reason(graph, arm):
    arm.act(SECOND, terminate=True)
    response = graph.call(MoveTo, 'arm_controller/move_to', MoveTo.Request(position=[0.5, 0.9, 0.2]))
    assert not response.success
    assert 'workspace' in response.message
    assert not arm.moves

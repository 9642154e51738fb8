from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from mtopt_collector.robot import arm_kinematics
from mtopt_core.description.cell_table import ARM
from mtopt_core.episode import Action
from mtopt_core.messages import stamp_of
from mtopt_msgs import msg
from mtopt_msgs.srv import MoveTo
from mtopt_node.calls import found
from mtopt_node.conversions import action_to_message, header
from mtopt_node.qos import COMMANDS, EVENTS, KEPT_COMMANDS

SECOND = 1_000_000_000
KINEMATICS = arm_kinematics()
START = KINEMATICS.inverse(np.array(ARM.home), np.array([0.5, -0.17, 0.15]), 0.0)


class Arm:
    """Plays the arm: says where its joints are, hears what it is told to do, and does it when asked."""

    def __init__(self, graph, **parameters) -> None:
        self.graph = graph
        parameters = {'data_folder': str(graph.folder), **parameters}
        graph.start('arm_controller', 'mtopt_collector.arm_controller_node', **parameters)
        self.steps = graph.listen(msg.Step, 'step', KEPT_COMMANDS)
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


def test_a_real_arm_holds_while_another_node_says_where_it_is(graph):
    arm = Arm(graph, joint_state_timeout=60.0)
    graph.publisher(JointState, 'joint_states', COMMANDS)
    graph.connect()
    arm.stand(SECOND)
    assert 'several nodes publish /robot1/joint_states' in arm.act(SECOND).reason


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


def test_a_move_is_answered_when_the_arm_is_at_rest_after_its_last_part(graph, arm):
    # The first answer proves that the joint state has arrived.
    arm.act(SECOND, terminate=True)
    client = graph.node.create_client(MoveTo, 'arm_controller/move_to')
    assert found(client.wait_for_service, 10)
    future = client.call_async(MoveTo.Request(position=[0.5, 0.17, 0.2], yaw=0.5, gripper=MoveTo.Request.CLOSE))
    end = SECOND
    for number in itertools.count():
        graph.wait_until(lambda number=number: future.done() or len(arm.moves) == len(arm.grips) == number + 1)
        if future.done():
            break
        move, grip = arm.moves[number], arm.grips[number]
        assert length(move) == length(grip) <= 0.5
        assert grip.points[-1].positions[0] == 0.0
        end += round(length(move) * SECOND)
        arm.stand(end, np.array(move.points[-1].positions))
    assert number > 3
    response = graph.result(future)
    assert response.success, response.message
    assert stamp_of(response.stamp) == end
    position, _ = KINEMATICS.forward(np.array(move.points[-1].positions))
    assert np.allclose(position, [0.5, 0.17, 0.2], atol=5e-4)


def test_a_move_out_of_the_workspace_is_refused_with_the_reason(graph, arm):
    arm.act(SECOND, terminate=True)
    response = graph.call(MoveTo, 'arm_controller/move_to', MoveTo.Request(position=[0.5, 0.9, 0.2]))
    assert not response.success
    assert 'workspace' in response.message
    assert not arm.moves


def blocked(diagnostics: list[DiagnosticArray]) -> str:
    """Return why the arm controller says that nothing can be collected."""
    values = [pair.value for array in diagnostics for pair in array.status[0].values if pair.key == 'blocked']
    return values[-1] if values else ''


@pytest.mark.parametrize('topic', ['emergency_stop', '/emergency_stop'])
def test_an_emergency_stop_latches_outlives_the_node_and_needs_an_explicit_reset(graph, arm, topic):
    diagnostics = graph.listen(DiagnosticArray, '/diagnostics', EVENTS)
    graph.connect()
    stop = graph.publisher(Bool, topic, COMMANDS)
    stop.publish(Bool(data=True))
    graph.wait_until(lambda: 'emergency stop' in blocked(diagnostics))
    assert 'emergency stop' in arm.act(SECOND).reason
    stop.publish(Bool(data=False))
    move = graph.call(MoveTo, 'arm_controller/move_to', MoveTo.Request(position=[0.5, 0.17, 0.2]))
    assert not move.success
    assert 'emergency stop' in move.message

    graph.kill('arm_controller')
    graph.start('arm_controller', 'mtopt_collector.arm_controller_node', data_folder=str(graph.folder))
    graph.wait_until(lambda: arm.actions.get_subscription_count() == arm.joint_states.get_subscription_count() == 2)
    time.sleep(1.0)
    arm.stand(SECOND)
    assert 'emergency stop' in arm.act(SECOND, step=1).reason
    assert not arm.moves

    assert graph.call(Trigger, 'arm_controller/reset_emergency_stop', Trigger.Request()).success
    graph.wait_until(lambda: not blocked(diagnostics))
    assert arm.act(SECOND, step=2).accepted


def test_a_command_engages_the_emergency_stop_and_another_releases_it(graph, arm):
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-m', 'mtopt_core.cli', 'stop', *arguments],
            env={**os.environ, 'ROS_DOMAIN_ID': str(graph.domain)},
            check=False,
            capture_output=True,
            text=True,
        )

    for step, arguments in enumerate(((), ('robot1',))):
        stopped = command(*arguments)
        assert stopped.returncode == 0, stopped.stderr
        assert 'robot1 is stopped' in stopped.stdout
        assert 'emergency stop' in arm.act(SECOND, step=2 * step).reason
        released = command('robot1', '--release')
        assert released.returncode == 0, released.stderr
        assert 'robot1: released' in released.stdout
        assert arm.act(SECOND, step=2 * step + 1, terminate=True).accepted

    missing = command('robot9')
    assert missing.returncode == 1
    assert 'no arm controller listens to /robot9/emergency_stop' in missing.stderr
    assert 'PRESS THE HARDWARE STOP' in missing.stderr


def test_an_emergency_stop_holds_a_moving_arm_where_it_was_last_seen(graph, arm):
    stop = graph.publisher(Bool, 'emergency_stop', COMMANDS)
    arm.act(SECOND, displacement=np.array([0.1, 0.0, 0.0]))
    underway = START + 0.01
    arm.stand(SECOND + SECOND // 4, underway)
    time.sleep(0.2)
    stop.publish(Bool(data=True))
    graph.wait_until(lambda: len(arm.moves) == len(arm.grips) == 2)
    assert np.allclose(arm.moves[-1].points[-1].positions, underway)
    assert not any(arm.moves[-1].points[-1].velocities)


class Move:
    """A move of which the first part was sent and carried out, while joint states stay away."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        arm.act(SECOND, terminate=True)
        client = arm.graph.node.create_client(MoveTo, 'arm_controller/move_to')
        assert found(client.wait_for_service, 10)
        self.future = client.call_async(MoveTo.Request(position=[0.5, 0.17, 0.2], yaw=0.5))
        arm.graph.wait_until(lambda: arm.moves)

    def goes_no_further(self) -> None:
        first, sent = self.arm.moves[0], len(self.arm.moves)
        self.arm.stand(10 * SECOND, np.array(first.points[-1].positions))
        response = self.arm.graph.result(self.future)
        assert not response.success
        time.sleep(0.5)
        assert len(self.arm.moves) == sent


def test_a_move_that_was_stopped_does_not_go_on_when_the_stop_is_released(graph, arm):
    stop = graph.publisher(Bool, 'emergency_stop', COMMANDS)
    move = Move(arm)
    stop.publish(Bool(data=True))
    graph.wait_until(lambda: (graph.folder / 'robot1.emergency_stop').exists())
    assert graph.call(Trigger, 'arm_controller/reset_emergency_stop', Trigger.Request()).success
    move.goes_no_further()
    assert move.future.result().message


def test_a_move_does_not_go_on_when_the_arm_controller_is_activated_again(graph, arm):
    move = Move(arm)
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert graph.call(ChangeState, 'arm_controller/change_state', request).success
    move.goes_no_further()


def test_joints_of_other_names_or_beyond_their_limits_move_nothing(graph, arm):
    arm.act(SECOND, terminate=True)
    arm.joint_states.publish(JointState(header=header(2 * SECOND), name=['elbow'], position=[0.0]))
    assert not arm.act(2 * SECOND, step=1).accepted
    arm.stand(3 * SECOND, START + 100.0)
    rejected = arm.act(3 * SECOND, step=2)
    assert not rejected.accepted
    assert 'outside its limits' in rejected.reason
    assert not arm.moves

"""Turns actions into joint trajectories within every limit, and moves the arm between episodes."""

from __future__ import annotations

import sys

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from mtopt_collector.arm_control import ArmControl, Command, Decision, GripperCommand
from mtopt_collector.cell_node import CELL_FILE, DISCOVERY_TIMEOUT, CellNode
from mtopt_collector.joint_reading import JointStateError
from mtopt_collector.robot import arm_kinematics, joint_reader
from mtopt_core.description.cell_table import CELL
from mtopt_core.errors import ActionError
from mtopt_core.messages import action_from_message
from mtopt_core.step_planner import StepPlanner
from mtopt_msgs import msg
from mtopt_msgs.srv import MoveTo
from mtopt_node.conversions import header, stamp_of, time_of, trajectory_to_message
from mtopt_node.node import ERROR, OK, WARN, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import COMMANDS

PATIENCE = 1.0
MOVE_PATIENCE = 10.0
RECORDER = 'recorder'


class ArmControllerNode(CellNode):
    """Answers every `action` with a `step`, and commands the arm by a pair of trajectories of equal length.

    Holds when commands stop: every trajectory ends at rest and nothing else is ever sent.
    """

    NAME = 'arm_controller'
    PARAMETERS = (
        CELL_FILE,
        Parameter('max_observation_age', 1.0, 's; actions decided on older observations are rejected', minimum=0.01),
        Parameter(
            'joint_state_timeout',
            0.0,
            's of wall time without joint states after which nothing is sent; 0 for a lock-step simulator, which is '
            'silent between steps',
            minimum=0.0,
        ),
    )

    def configure(self) -> None:
        """Listen to actions and joint states."""
        kinematics = arm_kinematics()
        self._arm_joints = kinematics.joint_names
        self._reader = joint_reader(kinematics)
        self._control = ArmControl(
            StepPlanner(kinematics, self.cell), self.value('max_observation_age'), self.value('joint_state_timeout')
        )
        self._has_driver = False
        self._steps = self.create_publisher(msg.Step, 'step', COMMANDS)
        self._gripper = self.create_publisher(
            JointTrajectory, 'gripper_trajectory_controller/joint_trajectory', COMMANDS
        )
        self._arm = self.create_publisher(JointTrajectory, 'joint_trajectory_controller/joint_trajectory', COMMANDS)
        self.create_subscription(JointState, 'joint_states', self._take_joint_state, COMMANDS)
        self.create_subscription(msg.Action, 'action', self._take_action, COMMANDS)
        # A move waits for joint states, which come by callbacks of the other group.
        self.create_service(MoveTo, '~/move_to', self._move_to, callback_group=ReentrantCallbackGroup())

    def _take_joint_state(self, message: JointState) -> None:
        try:
            reading = self._reader.read(stamp_of(message.header.stamp), message.name, message.position)
        except JointStateError as error:
            self.report(ERROR, f'{self.resolve_topic_name("joint_states")}: {error}')
            return
        self._control.read(reading, self.now)
        self.recheck()

    def _take_action(self, message: msg.Action) -> None:
        try:
            decision = Decision(
                action_from_message(message), stamp_of(message.header.stamp), message.episode_id, message.step
            )
        except ValueError as error:
            self._reject(message.episode_id, message.step, str(error))
            return
        if self._ready_for(decision):
            self._decide(decision)
        else:
            assert self.executor is not None, 'called by the executor'
            self.executor.create_task(self._decide_later, decision)

    async def _decide_later(self, decision: Decision) -> None:
        """Wait for the joint state decided on, which may still be on its way, or for an arm that is just starting."""
        await self.until(lambda: self._ready_for(decision), PATIENCE)
        self._decide(decision)

    def _ready_for(self, decision: Decision) -> bool:
        return self._control.knows(decision.stamp) and self._heard()

    def _heard(self) -> bool:
        """Return whether trajectories of arm and gripper are carried out, not only recorded."""
        if not self._has_driver:
            topics = (self._arm.topic_name, self._gripper.topic_name)
            listeners = [{one.node_name for one in self.get_subscriptions_info_by_topic(topic)} for topic in topics]
            self._has_driver = all(names - {RECORDER} for names in listeners)
        return self._has_driver

    def _decide(self, decision: Decision) -> None:
        try:
            self._check_ready()
            planned, command = self._control.decide(decision, self.now)
        except ActionError as error:
            self._reject(decision.episode_id, decision.step, str(error))
            return
        start, end = (command.start, command.end) if command else (self._control.stamp, self._control.stamp)
        self._steps.publish(
            msg.Step(
                header=header(start),
                episode_id=decision.episode_id,
                step=decision.step,
                accepted=True,
                reason=planned.reason,
                end=time_of(end),
                displacement=planned.displacement.astype(np.float32),
                yaw_change=planned.yaw_change,
            )
        )
        if command is not None:
            self._send(command)
        self.report(OK, 'running')

    def _check_ready(self) -> None:
        if not self.active:
            raise ActionError('the arm controller is not active; activate it')
        if not self._heard():
            raise ActionError(
                f'nobody listens to {self._arm.topic_name} or {self._gripper.topic_name}; is the arm running?'
            )

    def _reject(self, episode_id: str, step: int, reason: str) -> None:
        stamp = self._control.stamp
        self._steps.publish(
            msg.Step(
                header=header(stamp),
                episode_id=episode_id,
                step=step,
                accepted=False,
                reason=reason,
                end=time_of(stamp),
            )
        )
        self.report(WARN, f'step {step} of {episode_id or "no episode"} rejected: {reason}')

    def _send(self, command: Command) -> None:
        self._gripper.publish(trajectory_to_message(command.gripper, [CELL.arm.finger_joint]))
        self._arm.publish(trajectory_to_message(command.arm, self._arm_joints))

    async def _move_to(self, request: MoveTo.Request, response: MoveTo.Response) -> MoveTo.Response:
        try:
            await self.until(self._heard, DISCOVERY_TIMEOUT)
            self._check_ready()
            command = self._control.move(
                np.array(request.position), request.yaw, GripperCommand(request.gripper), self.now
            )
        except (ActionError, ValueError) as error:
            response.message = str(error)
            self.report(WARN, f'move refused: {error}')
            return response
        self._send(command)
        patience = command.arm.duration + MOVE_PATIENCE
        response.success = await self.until(lambda: self._control.at_rest(command.end), patience)
        response.stamp = time_of(self._control.stamp)
        if response.success:
            self.report(OK, 'running')
        else:
            response.message = f'the arm was not at rest {patience:.1f} s after a move was sent; is its driver running?'
            self.report(ERROR, response.message)
        return response


def main() -> int:
    """Run the node."""
    return run(ArmControllerNode)


if __name__ == '__main__':
    sys.exit(main())

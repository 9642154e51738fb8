"""Turns actions into joint trajectories within every limit, and moves the arm between episodes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from mtopt_collector.arm_control import ArmControl, Command, Decision, GripperCommand, Part
from mtopt_collector.cell_node import CELL_FILE, DATA_FOLDER, DISCOVERY_TIMEOUT, CellNode
from mtopt_collector.command_limits import CommandLimits
from mtopt_collector.emergency_stop import EmergencyStop
from mtopt_collector.joint_reading import JointStateError
from mtopt_collector.robot import arm_kinematics, joint_reader
from mtopt_core.description.cell_table import CELL
from mtopt_core.errors import ActionError
from mtopt_core.messages import action_from_message, stamp_of
from mtopt_core.step_planner import StepPlanner
from mtopt_msgs import msg
from mtopt_msgs.srv import MoveTo
from mtopt_node.conversions import header, time_of, trajectory_to_message
from mtopt_node.discovery import node_names
from mtopt_node.node import ERROR, OK, WARN, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import COMMANDS, KEPT_COMMANDS

PATIENCE = 1.0
MOVE_PATIENCE = 10.0
RECORDER = 'recorder'


class ArmControllerNode(CellNode):
    """Answers every `action` with a `step`, and commands the arm by pairs of trajectories, each at most a step long.

    Holds when commands stop: every trajectory ends at rest and nothing else is ever sent. A true `emergency_stop`, the
    robot's own or the one of all robots, latches until `~/reset_emergency_stop` is called.
    """

    NAME = 'arm_controller'
    # How often the arm was stopped since the process began: what was wanted before is not done any more.
    _stops = 0
    PARAMETERS = (
        CELL_FILE,
        DATA_FOLDER,
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
            StepPlanner(kinematics, self.cell),
            CommandLimits(kinematics, self.cell, CELL.arm.finger_open),
            self.cell.step.duration,
            self.value('max_observation_age'),
            self.value('joint_state_timeout'),
        )
        self._stop = EmergencyStop(Path(self.value('data_folder')) / f'{self.robot}.emergency_stop')
        self._has_driver = False
        self._steps = self.create_publisher(msg.Step, 'step', KEPT_COMMANDS)
        self._gripper = self.create_publisher(
            JointTrajectory, 'gripper_trajectory_controller/joint_trajectory', COMMANDS
        )
        self._arm = self.create_publisher(JointTrajectory, 'joint_trajectory_controller/joint_trajectory', COMMANDS)
        self.create_subscription(JointState, 'joint_states', self._take_joint_state, COMMANDS)
        self.create_subscription(msg.Action, 'action', self._take_action, COMMANDS)
        for topic in ('emergency_stop', '/emergency_stop'):
            self.create_subscription(Bool, topic, self._take_emergency_stop, COMMANDS)
        self.create_service(Trigger, '~/reset_emergency_stop', self._reset_emergency_stop)
        # A move waits for joint states, which come by callbacks of the other group.
        self.create_service(MoveTo, '~/move_to', self._move_to, callback_group=ReentrantCallbackGroup())

    def activate(self) -> None:
        """Say whether the emergency stop was engaged before this node was started."""
        super().activate()
        self._say_whether_stopped()

    def deactivate(self) -> None:
        """Send nothing more, nor what is left of a move once it is activated again."""
        self._stops += 1
        super().deactivate()

    def _take_emergency_stop(self, message: Bool) -> None:
        # A false one does not release: one publisher that says so by habit must not undo another's alarm.
        if not message.data:
            return
        self._stops += 1
        try:
            self._stop.engage(f'engaged on {self.resolve_topic_name("emergency_stop")} or /emergency_stop')
        except OSError as error:
            self.get_logger().error(f'the emergency stop will not outlive this process: {error}')
        try:
            command = self._control.hold(self.now)
        except ActionError as error:
            command = None
            self.get_logger().error(f'the arm is left to end its step: {error}')
        if command is not None:
            self._send(command)
        self._say_whether_stopped()

    def _reset_emergency_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._stop.release()
        except OSError as error:
            response.message = f'still engaged: {error}'
            return response
        self._say_whether_stopped()
        response.success, response.message = True, 'released; the arm moves when it is told to'
        return response

    def _say_whether_stopped(self) -> None:
        if self._stop.reason:
            release = f'`mtopt stop {self.robot} --release`'
            self.block(f'emergency stop: {self._stop.reason}; make the cell safe, then {release}')
        else:
            self.block('')

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
        if not self.active or self._ready_for(decision):
            self._decide(decision, self._stops)
        else:
            assert self.executor is not None, 'called by the executor'
            self.executor.create_task(self._decide_later, decision, self._stops)

    async def _decide_later(self, decision: Decision, stops: int) -> None:
        """Wait for the joint state decided on, which may still be on its way, or for an arm that is just starting."""
        await self.until(lambda: self._ready_for(decision), PATIENCE)
        self._decide(decision, stops)

    def _ready_for(self, decision: Decision) -> bool:
        return self._control.knows(decision.stamp) and self._heard()

    def _heard(self) -> bool:
        """Return whether trajectories of arm and gripper are carried out, not only recorded."""
        if not self._has_driver:
            topics = (self._arm.topic_name, self._gripper.topic_name)
            listeners = [node_names(self.get_subscriptions_info_by_topic(topic)) for topic in topics]
            self._has_driver = all(names - {f'/{self.robot}/{RECORDER}'} for names in listeners)
        return self._has_driver

    def _decide(self, decision: Decision, stops: int) -> None:
        try:
            self._check_ready(stops)
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

    def _check_ready(self, stops: int) -> None:
        """See that the arm may be moved, for who came when it had been stopped so often.

        Raises:
            ActionError: It may not.
        """
        if not self.active:
            raise ActionError('the arm controller is not active; activate it')
        if self._stop.reason:
            raise ActionError(f'emergency stop: {self._stop.reason}')
        if self.value('joint_state_timeout') and self.count_publishers('joint_states') > 1:
            topic = self.resolve_topic_name('joint_states')
            raise ActionError(f'several nodes publish {topic}: one of them is not this arm; stop it, then go on')
        if stops != self._stops:
            raise ActionError('the arm was stopped meanwhile; what it was told before is not done any more')
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
        stops = self._stops
        try:
            if self.active:
                await self.until(self._heard, DISCOVERY_TIMEOUT)
            self._check_ready(stops)
            gripper = GripperCommand(request.gripper)
            for part in self._control.plan_move(np.array(request.position), request.yaw, gripper, self.now):
                await self._carry_out(part, stops)
        except (ActionError, ValueError) as error:
            response.message = str(error)
            self.report(WARN, f'move refused: {error}')
        else:
            response.success = True
            self.report(OK, 'running')
        response.stamp = time_of(self._control.stamp)
        return response

    async def _carry_out(self, part: Part, stops: int) -> None:
        """Send a part of a move and wait until the arm is at rest.

        Raises:
            ActionError: It was stopped in between, also where that is over, or joint states stay away.
        """
        command = self._control.follow(part, self.now)
        self._send(command)
        in_time = await self.until(lambda: stops != self._stops or self._control.at_rest(command.end), MOVE_PATIENCE)
        self._check_ready(stops)
        if not in_time:
            raise ActionError(
                f'the arm was not at rest {MOVE_PATIENCE:g} s after a move was sent; is its driver running?'
            )


def main() -> int:
    """Run the node."""
    return run(ArmControllerNode)


if __name__ == '__main__':
    sys.exit(main())

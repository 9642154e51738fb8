"""Records what reaches the arm from outside of all nodes, and checks it by means of its own.

Nothing here is shared with the arm controller but the robot's URDF and the cell's file: limits are read from them anew,
speeds are computed from the published points, the tip is found by forward kinematics. Messages are put in the order of
the times DDS stamped them with when they were sent: a listener on a busy machine takes them in another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from mtopt_collector.robot import arm_kinematics
from mtopt_core.configuration import CellConfiguration
from mtopt_core.description.cell_table import CELL
from mtopt_core.episode import Termination
from mtopt_msgs.msg import EpisodeInfo, Step
from mtopt_node.qos import COMMANDS, EVENTS

SECOND = 1e9
# The joint state that a command starts from may be followed by others before the command is sent.
STATES_KEPT = 4
JOINT_SLACK, TIP_SLACK, SPEED_SLACK = 0.02, 0.003, 1.01  # rad, m, factor


@dataclass(frozen=True)
class Command:
    """A trajectory seen: when it was sent, ns, what it is for, `arm` or `gripper`, and itself."""

    sent: int
    part: str
    trajectory: JointTrajectory


@dataclass(frozen=True)
class Ended:
    """An episode the recorder said was over: its id, the steady time, and whether it was cut short."""

    episode_id: str
    at: float
    aborted: bool


class Witness:
    """A node in a context of its own.

    Args:
        robot: Its namespace.
        cell: Its configuration.
        domain: ROS domain; none for that of the environment.

    Attributes:
        commands: Trajectories seen.
        steps: Steady time and episode of every step the arm controller accepted.
        ended: The episodes that have ended, in order.
        episode_id: The running episode, empty between episodes.
    """

    def __init__(self, robot: str, cell: CellConfiguration, domain: int | None = None) -> None:
        self._robot, self._cell, self._domain = robot, cell, domain
        self._kinematics = arm_kinematics()
        self._lower, self._upper = np.array(cell.limits.workspace_min), np.array(cell.limits.workspace_max)
        self._states: list[tuple[int, np.ndarray]] = []
        self.commands: list[Command] = []
        self.steps: list[tuple[float, str]] = []
        self.ended: list[Ended] = []
        self.episode_id = ''

    def __enter__(self) -> Witness:
        """Listen in a thread."""
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self._domain)
        self.node = rclpy.create_node('witness', namespace=self._robot, context=self._context)
        subscribe: Callable[..., object] = self.node.create_subscription
        subscribe(JointState, 'joint_states', self._take_state, EVENTS)
        for part, topic in (('arm', 'joint_trajectory_controller'), ('gripper', 'gripper_trajectory_controller')):
            subscribe(JointTrajectory, f'{topic}/joint_trajectory', self._taker(part), EVENTS)
        subscribe(Step, 'step', self._take_step, COMMANDS)
        subscribe(EpisodeInfo, 'episode', self._take_episode, EVENTS)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()
        self._context.try_shutdown()

    def _take_state(self, state: JointState, info: dict[str, int]) -> None:
        known = dict(zip(state.name, state.position, strict=True))
        joints = np.array([known[name] for name in self._kinematics.joint_names])
        self._states.append((info['source_timestamp'], joints))

    def _taker(self, part: str) -> Callable[[JointTrajectory, dict[str, int]], None]:
        def take(trajectory: JointTrajectory, info: dict[str, int]) -> None:
            self.commands.append(Command(info['source_timestamp'], part, trajectory))

        return take

    def _take_step(self, step: Step) -> None:
        if step.accepted:
            self.steps.append((time.monotonic(), step.episode_id))

    def _take_episode(self, info: EpisodeInfo) -> None:
        if info.phase == EpisodeInfo.PHASE_START:
            self.episode_id = info.episode_id
            return
        self.episode_id = ''
        self.ended.append(Ended(info.episode_id, time.monotonic(), info.termination == Termination.ABORTED))

    def violations(self) -> list[tuple[int, str]]:
        """Return every command that breaks a limit: when it was sent, ns, and what is wrong, in words."""
        states = deque(sorted(self._states, key=lambda state: state[0]))
        newest: deque[np.ndarray] = deque(maxlen=STATES_KEPT)
        found = []
        for command in sorted(self.commands, key=lambda one: one.sent):
            while states and states[0][0] <= command.sent:
                newest.append(states.popleft()[1])
            matter = self._matter(command.part, command.trajectory, newest)
            if matter:
                found.append((command.sent, matter))
        return found

    def _matter(self, part: str, message: JointTrajectory, starts: deque[np.ndarray]) -> str:
        names = list(self._kinematics.joint_names) if part == 'arm' else [CELL.arm.finger_joint]
        if list(message.joint_names) != names:
            return f'the {part} is told to move {list(message.joint_names)}'
        malformed = self._malformed(message)
        if malformed:
            return f'the trajectory of the {part} {malformed}'
        if part == 'gripper':
            widths = np.array([point.positions for point in message.points])
            beyond = widths.min() < 0 or widths.max() > CELL.arm.finger_open
            return f'the fingers are told to go to {widths.ravel().tolist()}' if beyond else ''
        reasons = [self._limit_broken(start, message) for start in starts]
        return reasons[-1] if reasons and all(reasons) else ''

    def _malformed(self, message: JointTrajectory) -> str:
        times = [point.time_from_start.sec + point.time_from_start.nanosec / SECOND for point in message.points]
        width = len(message.joint_names)
        if not times or any(len(point.positions) != width for point in message.points):
            return 'is empty, or lacks joints'
        if not all(np.isfinite([*point.positions, *point.velocities]).all() for point in message.points):
            return 'is not finite'
        if any(message.points[-1].velocities):
            return 'does not end at rest'
        if times[-1] > self._cell.step.duration + 1e-6 or min(np.diff([0.0, *times])) <= 0:
            return f'has the times {times} s'
        return ''

    def _limit_broken(self, start: np.ndarray, message: JointTrajectory) -> str:
        """Return which limit a trajectory breaks when it starts from a state, in words; empty for none."""
        limits, before, since = self._kinematics.limits, start, 0.0
        for point in message.points:
            target, time_at = (
                np.array(point.positions),
                point.time_from_start.sec + point.time_from_start.nanosec / SECOND,
            )
            if ((target < limits.lower - JOINT_SLACK) | (target > limits.upper + JOINT_SLACK)).any():
                return f'joints are told to go to {target.round(3).tolist()} rad'
            # A cubic from rest to rest has its peak speed in the middle, one and a half times the mean.
            speed = 1.5 * np.abs(target - before) / (time_at - since)
            if (speed > SPEED_SLACK * self._cell.limits.joint_speed * limits.velocity).any():
                return f'joints are told to turn at {speed.round(2).tolist()} rad/s'
            before, since = target, time_at
        outside, now = (self._outside(joints) for joints in (before, start))
        return f'the tip is told to go {outside:.3f} m out of its workspace' if outside > now + TIP_SLACK else ''

    def _outside(self, joints: np.ndarray) -> float:
        tip, _ = self._kinematics.forward(joints)
        return float(np.linalg.norm(tip - np.clip(tip, self._lower, self._upper)))

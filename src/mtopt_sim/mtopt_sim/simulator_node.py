"""The simulated cell as a robot's driver: cameras, joint states and clock out, joint trajectories in.

In lock-step, the default, time passes only while a step's trajectories are carried out; then every image and joint
state is published once, and again, with the same stamp, for a node that joins later and would wait in vain. At real
time the clock follows the wall's and everything is streamed, as by a real cell.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.publisher import Publisher
from rclpy.timer import Timer
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cloth_table import table_for
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import MtoptError
from mtopt_core.tasks import load_tasks
from mtopt_core.trajectory import Trajectory
from mtopt_msgs.msg import EpisodeInfo, TaskOutcomes
from mtopt_msgs.srv import ResetCell
from mtopt_node.conversions import header, outcomes_to_message, time_of, trajectory_from_message
from mtopt_node.node import ERROR, OK, WARN, Node, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import COMMANDS, EVENTS, IMAGES
from mtopt_sim.commands import CommandPairs
from mtopt_sim.errors import SimulationError
from mtopt_sim.simulators import IMAGE_PERIOD, new_cell

TRUTH = 'simulator'
NEWCOMERS_PERIOD = 0.2  # s between two looks for nodes that joined late


class SimulatorNode(Node):
    """A simulator behind the topics of a real cell."""

    NAME = 'simulator'
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter('simulator', 'mujoco', 'what simulates the cell', choices=('mujoco', 'gazebo')),
        Parameter('image_size', 128, 'side of the square images, px', minimum=16, maximum=1024),
        Parameter('cameras', list(CAMERAS), 'cameras to publish'),
        Parameter('objects', [''], 'categories of every scene; empty: each with its own probability'),
        Parameter('seed', 0, 'of the first scene', minimum=0, maximum=2**31 - 1),
        Parameter('real_time', False, "follow the wall's clock and stream, instead of lock-step"),
        Parameter(
            'rate', 10.0, 'images and joint states per second at real time; Gazebo: 2', minimum=0.1, maximum=100.0
        ),
        Parameter('tasks_file', '', 'task set; empty for the shipped config/tasks.yaml'),
    )

    _ticker: Timer | None = None
    _active = False

    def configure(self) -> None:
        """Build the cell and open its topics."""
        self._tasks = load_tasks(self.value('tasks_file'))
        objects = tuple(name for name in self.value('objects') if name)
        simulator = self.value('simulator')
        self._period = 1 / self.value('rate') if simulator == 'mujoco' else IMAGE_PERIOD
        self._cell = new_cell(
            simulator, self.value('image_size'), self.value('cameras'), objects or None, table_for(self._tasks)
        )
        arm = self._cell.table.arm
        self._joints = [*self._cell.kinematics.joint_names, arm.finger_joint]
        self._pairs = CommandPairs(self._cell.kinematics.joint_names, arm.finger_joint)
        self._motion: Iterator[None] | None = None
        self._left = 0.0
        self._episode_id = ''
        self._listeners = 0

        self._clock_publisher = self.create_publisher(ClockMessage, '/clock', COMMANDS)
        self._joint_states = self.create_publisher(JointState, 'joint_states', EVENTS)
        self._truth = self.create_publisher(TaskOutcomes, 'true_outcomes', COMMANDS)
        self._images: dict[str, Publisher] = {
            name: self.create_publisher(Image, f'camera/{name}/image', IMAGES) for name in self._cell.cameras
        }
        for part, topic in (('arm', 'joint_trajectory_controller'), ('gripper', 'gripper_trajectory_controller')):
            self.create_subscription(
                JointTrajectory, f'{topic}/joint_trajectory', partial(self._command, part), COMMANDS
            )
        self.create_subscription(EpisodeInfo, 'episode', self._begin, EVENTS)
        self.create_service(ResetCell, '~/reset', self._reset)

    def activate(self) -> None:
        """Show the first scene; at real time, start the clock."""
        self._motion = None
        self._pairs.clear()
        self._cell.reset(self.value('seed'))
        self._publish()
        self._active = True
        self.report(OK, 'simulating')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        if self.value('real_time'):
            self._ticker = self.create_timer(self._period, self._tick, clock=steady)
        else:
            self._ticker = self.create_timer(NEWCOMERS_PERIOD, self._greet, clock=steady)

    def deactivate(self) -> None:
        """Stop the clock, show nothing more, obey nobody."""
        self._active = False
        if self._ticker is not None:
            self.destroy_timer(self._ticker)

    def cleanup(self) -> None:
        """Free what the simulator holds."""
        self._cell.close()

    def _command(self, part: str, message: JointTrajectory) -> None:
        if not self._active:
            self.report(WARN, 'command rejected: the simulator is not active; activate it')
            return
        try:
            pair = self._pairs.add(part, message.joint_names, trajectory_from_message(message))
        except (MtoptError, ValueError) as error:
            self.report(WARN, f'command rejected: {error}')
            return
        if pair is None:
            return
        self._motion = self._cell.motion(*pair)
        if not self.value('real_time'):
            self._carry_on(np.inf)

    def _carry_on(self, time: float) -> float:
        """Let so much time pass, ns, without end until the motion has ended, and show what there is then.

        Returns:
            What is left of the time, ns; below zero where the last tick went beyond it.
        """
        try:
            left = self._advance(time)
            if np.isfinite(left) and left >= self._cell.tick:
                self._motion = self._hold()
                left = self._advance(left)
                self._motion = None
            self._publish()
        except SimulationError as error:
            # Nothing is shown: whoever waits for the end of this step does so in vain, and the episode fails.
            self._motion = None
            self.report(ERROR, f'the step was not carried out: {error}')
            return 0.0
        return left

    def _tick(self) -> None:
        """Let one period pass: first what is commanded, then at rest."""
        self._left = self._carry_on(round(self._period * 1e9) + self._left)

    def _greet(self) -> None:
        """Show the scene once more when somebody has begun to listen since it was shown."""
        listeners = self._count_listeners()
        if listeners > self._listeners:
            try:
                self._publish()
            except SimulationError as error:
                self.report(ERROR, f'the scene cannot be shown: {error}')
        self._listeners = listeners

    def _count_listeners(self) -> int:
        return sum(one.get_subscription_count() for one in (self._joint_states, *self._images.values()))

    def _advance(self, time: float) -> float:
        """Carry on with the motion for so long, ns; return what is left of the time when it ended."""
        while self._motion is not None and time > 0:
            if next(self._motion, StopIteration) is StopIteration:
                self._motion = None
                break
            time -= self._cell.tick
        return time

    def _hold(self) -> Iterator[None]:
        arm, cell = self._cell.table.arm, self._cell
        finger = 0.0 if cell.gripper_closed else arm.finger_open
        times = np.array([2 * self._period])
        return cell.motion(
            Trajectory.at_rest(times, cell.joint_positions[None]), Trajectory.at_rest(times, np.array([[finger]]))
        )

    def _begin(self, info: EpisodeInfo) -> None:
        if self._active and info.phase == EpisodeInfo.PHASE_START:
            self._episode_id = info.episode_id
            self._cell.begin_episode()

    def _reset(self, request: ResetCell.Request, response: ResetCell.Response) -> ResetCell.Response:
        try:
            if not self._active:
                raise SimulationError('the simulator is not active; activate it')
            region = self._region(request.skill)
            self._motion = None
            self._pairs.clear()
            self._cell.reset(request.seed, region, request.holding)
            self._publish()
        except MtoptError as error:
            response.message = str(error)
            return response
        response.success, response.stamp = True, time_of(self._cell.stamp)
        self.report(OK, 'simulating')
        return response

    def _region(self, skill: str) -> str | None:
        if not skill:
            return None
        if skill not in self._tasks.skills:
            raise SimulationError(f'there is no skill {skill!r}; known: {", ".join(self._tasks.skills)}')
        return self._tasks.skills[skill].start_region

    def _publish(self) -> None:
        cell, stamp = self._cell, self._cell.stamp
        self._listeners = self._count_listeners()
        time: Time = time_of(stamp)
        self._clock_publisher.publish(ClockMessage(clock=time))
        self._joint_states.publish(
            JointState(
                header=header(stamp, ''),
                name=self._joints,
                position=[*cell.joint_positions, cell.gripper_width / 2],
                velocity=[*cell.joint_velocities, 0.0],
            )
        )
        for name, publisher in self._images.items():
            image = cell.render(name)
            publisher.publish(
                Image(
                    header=header(stamp, f'{name}_optical'),
                    height=image.shape[0],
                    width=image.shape[1],
                    encoding='rgb8',
                    step=3 * image.shape[1],
                    data=image.tobytes(),
                )
            )
        outcomes = [
            Outcome(task, Verdict.SUCCESS if solved else Verdict.FAILURE, float(solved))
            for task, solved in cell.outcomes(self._tasks).items()
        ]
        self._truth.publish(outcomes_to_message(outcomes, stamp, self._episode_id, TRUTH))


def main() -> None:
    """Run the node."""
    sys.exit(run(SimulatorNode))


if __name__ == '__main__':
    main()

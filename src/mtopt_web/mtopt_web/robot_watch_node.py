"""Brings to the page what the robots say, and to the robots what the page tells them."""

from __future__ import annotations

import re
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.node import Node
from rclpy.subscription import Subscription
from std_srvs.srv import Trigger

from mtopt_msgs.msg import Action, CollectorStatus, HelpRequest
from mtopt_node.calls import CallError, call
from mtopt_node.qos import COMMANDS, EVENTS, LATCHED
from mtopt_web.robot_watch import CommandError, RobotWatch, Status, TaskPractice

LOOK_PERIOD = 1.0  # s
COMMAND_TIMEOUT = 3.0  # s
STATES = {
    CollectorStatus.STATE_IDLE: 'idle',
    CollectorStatus.STATE_RESETTING: 'resetting',
    CollectorStatus.STATE_RUNNING: 'running',
    CollectorStatus.STATE_GRADING: 'grading',
    CollectorStatus.STATE_PAUSED: 'paused',
    CollectorStatus.STATE_NEEDS_PERSON: 'needs a person',
    CollectorStatus.STATE_WAITING: 'waiting',
}
LEVELS = {DiagnosticStatus.OK: 'ok', DiagnosticStatus.WARN: 'warning'}
_STATUS = re.compile(r'/(?P<robot>\w+)/status')


class RobotWatchNode(Node):
    """Follows every robot that has a collector."""

    def __init__(self, watch: RobotWatch) -> None:
        super().__init__('web_robots')
        self._watch = watch
        self._heard: dict[str, list[Subscription]] = {}
        self._commands: dict[tuple[str, str], Client] = {}
        self._group = ReentrantCallbackGroup()
        watch.command = self._tell
        self.create_subscription(DiagnosticArray, '/diagnostics', self._take_diagnostics, EVENTS)
        self.create_timer(LOOK_PERIOD, self._look)

    def _look(self) -> None:
        offered = {
            match['robot']
            for topic, types in self.get_topic_names_and_types()
            if (match := _STATUS.fullmatch(topic)) and 'mtopt_msgs/msg/CollectorStatus' in types
        }
        robots = {robot for robot in offered if self.count_publishers(f'/{robot}/status')}
        for robot in robots - self._heard.keys():
            take_status, take_action = partial(self._take_status, robot), partial(self._take_action, robot)
            self._heard[robot] = [
                self.create_subscription(CollectorStatus, f'/{robot}/status', take_status, LATCHED),
                self.create_subscription(Action, f'/{robot}/action', take_action, COMMANDS),
                self.create_subscription(HelpRequest, f'/{robot}/help', partial(self._take_help, robot), LATCHED),
            ]
        self._watch.found(sorted(self._heard))

    def _take_status(self, robot: str, message: CollectorStatus) -> None:
        practice = tuple(
            TaskPractice(**{name: getattr(one, name) for name in TaskPractice.__dataclass_fields__})
            for one in message.practice
        )
        status = Status(
            state=STATES.get(message.state, str(message.state)),
            task=message.task,
            policy=message.policy,
            exploration=message.exploration,
            episode_id=message.episode_id,
            episodes=message.episodes,
            successes=message.successes,
            message=message.message,
            practice=practice,
        )
        self._watch.tell_status(robot, status)

    def _take_action(self, robot: str, message: Action) -> None:
        self._watch.tell_decision(robot, message.episode_id, message.step, message.q_value)

    def _take_help(self, robot: str, message: HelpRequest) -> None:
        pictures = [bytes(image.data) for image in message.images]
        self._watch.tell_help(robot, message.message if message.needed else '', pictures if message.needed else [])

    def _take_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            self._watch.tell_health(status.name, LEVELS.get(status.level, 'error'), status.message)

    def _tell(self, robot: str, what: str) -> str:
        """Call a service of a robot's collector; from a thread of the page."""
        place = robot, what
        if place not in self._commands:
            name = f'/{robot}/collector/{what}'
            self._commands[place] = self.create_client(Trigger, name, callback_group=self._group)
        try:
            answer = call(self._commands[place], Trigger.Request(), COMMAND_TIMEOUT)
        except CallError as error:
            raise CommandError(str(error)) from None
        if not answer.success:
            raise CommandError(answer.message)
        return answer.message

"""The page Robots in a browser, before a robot's collector that a node of this test plays over real DDS."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from mtopt_core.images import encode_jpeg
from mtopt_msgs.msg import Action, CollectorStatus, HelpRequest, TaskPractice
from mtopt_node.conversions import header
from mtopt_node.qos import COMMANDS, EVENTS, LATCHED, OBSERVATIONS

pytestmark = pytest.mark.timeout(300)
JPEG = encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), 90)


class Robot:
    """Says what a collector says, and notes what it is told."""

    def __init__(self, name: str, domain: int) -> None:
        self.name = name
        self.told: list[str] = []
        self.refuses = ''
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node('player', namespace=name, context=self._context)
        self._status = self._node.create_publisher(CollectorStatus, 'status', LATCHED)
        self._help = self._node.create_publisher(HelpRequest, 'help', LATCHED)
        self._actions = self._node.create_publisher(Action, 'action', COMMANDS)
        self._camera = self._node.create_publisher(CompressedImage, 'cameras/main/compressed', OBSERVATIONS)
        self._diagnostics = self._node.create_publisher(DiagnosticArray, '/diagnostics', EVENTS)
        for word in ('pause', 'resume', 'skip', 'reset'):
            self._node.create_service(Trigger, f'collector/{word}', self._take(word))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self.state = CollectorStatus.STATE_RUNNING
        self.say()

    def _take(self, word: str):
        def take(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            self.told.append(word)
            response.success = word != self.refuses
            response.message = f'{word} it is' if response.success else 'no episode runs'
            if word in ('pause', 'resume'):
                paused = word == 'pause'
                self.state = CollectorStatus.STATE_PAUSED if paused else CollectorStatus.STATE_RUNNING
                self.say()
            return response

        return take

    def say(self, episodes: int = 4, message: str = '') -> None:
        practice = TaskPractice(
            task='lift-can',
            chance=0.25,
            at_parity=True,
            sources='learned 0.95, scripted 0.05',
            attempts=40,
            learned=20,
            learned_successes=15,
            others=20,
            other_successes=5,
            difference_low=0.18,
            difference_high=0.71,
        )
        self._status.publish(
            CollectorStatus(
                robot=self.name,
                state=self.state,
                task='lift-can',
                policy='learned',
                exploration=0.05,
                episode_id='e7',
                episodes=episodes,
                successes=3,
                message=message,
                practice=[practice],
            )
        )

    def act(self, step: int, q_value: float) -> None:
        self._actions.publish(Action(episode_id='e7', step=step, q_value=q_value))

    def show(self) -> None:
        self._camera.publish(CompressedImage(header=header(1, 'main'), format='jpeg', data=JPEG))

    def call_for_help(self, message: str) -> None:
        image = CompressedImage(header=header(1, 'main'), format='jpeg', data=JPEG)
        self._help.publish(HelpRequest(robot=self.name, needed=bool(message), message=message, images=[image]))

    def complain(self, message: str, node: str = 'policy') -> None:
        level = DiagnosticStatus.WARN if message else DiagnosticStatus.OK
        status = DiagnosticStatus(level=level, name=f'/{self.name}/{node}', message=message)
        self._diagnostics.publish(DiagnosticArray(status=[status]))

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def robot(server) -> Iterator[Robot]:
    robot = Robot('robot1', int(server.environment['ROS_DOMAIN_ID']))
    yield robot
    robot.close()


def test_a_card_shows_what_a_robot_does_and_keys_tell_it_something(server, robot, browser):
    browser.enter(server, path='/robots')
    browser.until(lambda: 'robot1' in browser.text() and 'running' in browser.text())
    assert 'lift-can' in browser.text()
    assert 'learned, 5 % random moves' in browser.text()
    assert '18 to 71 points' in browser.text()
    assert 'at parity' in browser.text()

    robot.show()
    browser.until(lambda: browser.all('.robot-body img'))
    for step, q_value in enumerate((0.25, math.nan, 0.75)):
        robot.act(step, q_value)
    browser.until(lambda: len(browser.all('.robot-q circle')) == 2)
    browser.until(lambda: 'Q 0.75' in browser.text())

    browser.press('p')
    browser.until(lambda: robot.told == ['pause'] and 'paused' in browser.text())
    browser.press('p', 's', 'r')
    browser.until(lambda: robot.told == ['pause', 'resume', 'skip', 'reset'])
    assert not browser.troubles()
    robot.refuses = 'skip'
    browser.press('s')
    browser.until(lambda: 'no episode runs' in browser.text())


def test_a_call_for_a_person_and_a_fault_are_seen_and_go_away_again(server, robot, browser):
    browser.enter(server, path='/robots')
    robot.call_for_help('put the can back into the right bin')
    browser.until(lambda: 'put the can back into the right bin' in browser.text())
    browser.until(lambda: browser.all('.robot-help-pictures img'))
    picture = browser.one('.robot-help-pictures img').get_attribute('src')
    assert '/robots/robot1/help/0' in picture
    robot.complain('no checkpoint fits')
    browser.until(lambda: '/robot1/policy no checkpoint fits' in browser.text())
    robot.call_for_help('')
    robot.complain('')
    browser.until(lambda: 'Needs a person' not in browser.text() and 'no checkpoint fits' not in browser.text())


def test_a_robot_that_died_is_silent(server, robot, browser):
    browser.enter(server, path='/robots')
    browser.until(lambda: browser.all('.robot-state.running'))
    robot.complain('', 'collector')
    browser.until(lambda: browser.all('.robot-state.silent'))
    assert 'it was stopped, or hangs' in browser.text()
    robot.complain('', 'collector')
    browser.until(lambda: browser.all('.robot-state.running'))


def test_the_robot_that_is_told_something_is_the_one_chosen_whichever_is_found_later(server, robot, browser):
    browser.enter(server, path='/robots')
    browser.until(lambda: browser.all('.robot-state.running'))
    other = Robot('robot0', int(server.environment['ROS_DOMAIN_ID']))
    try:
        browser.until(lambda: len(browser.all('.robot-state.running')) == 2)
        assert browser.text().index('robot0') < browser.text().index('robot1')
        browser.press('s')
        browser.until(lambda: robot.told or other.told)
        assert (robot.told, other.told) == (['skip'], [])
    finally:
        other.close()


def test_the_data_s_growth_is_on_the_page(server, browser):
    browser.enter(server, path='/robots')
    browser.until(lambda: '12 episodes' in browser.text())
    assert len(browser.all('.robot-growth svg')) == 12
    assert 'No robots are to be seen' in browser.text()


def test_only_a_visitor_may_tell_a_robot_anything_and_only_known_words(server, robot, browser):
    status, _, _ = server.ask('/robots/robot1/pause', 'POST', '', Host=f'127.0.0.1:{server.port}')
    assert status == 403
    cookie = server.cookie()
    browser.until(lambda: b'robot1' in server.ask('/robots/now', Cookie=cookie)[2])
    status, _, told = server.ask('/robots/robot1/explode', 'POST', '', Cookie=cookie)
    assert (status, json.loads(told)) == (409, {'detail': "a robot does not know 'explode'"})
    status, _, told = server.ask('/robots/robot9/pause', 'POST', '', Cookie=cookie)
    assert status == 409
    assert 'there are robot1' in json.loads(told)['detail']
    assert robot.told == []

from __future__ import annotations

import time
from typing import Any

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from mtopt_collector.collection import Fault
from mtopt_collector.collector_node import UNATTENDED_PERIOD
from mtopt_core.heartbeats import BLOCKED, PID
from mtopt_msgs.action import CollectEpisode, ResetScene, RunPolicy
from mtopt_msgs.msg import CollectorStatus, HelpRequest
from mtopt_msgs.srv import SetEpisode
from mtopt_node.calls import GoalServer, ThreadedActionClient
from mtopt_node.qos import COMMANDS, LATCHED

NODES = ('simulator', 'camera_ingestion', 'arm_controller', 'recorder', 'reset', 'policy')
NEEDS_PERSON, ARM_FAILED = ResetScene.Result.NEEDS_PERSON, ResetScene.Result.ARM_FAILED
START_TIMEOUT = 60.0


class Robot:
    """Plays the other nodes of a collector's robot: all give signs of life, no reset succeeds.

    Attributes:
        resets: Steady time and kind of each that was asked for.
    """

    def __init__(self, graph: Any, fault: int = ARM_FAILED, held: bool = False, **parameters: Any) -> None:
        self.graph = graph
        self.fault = fault
        self.held = held
        self.full_disk = ''
        self.running = 0
        self.resets: list[tuple[float, int]] = []
        self._release = Future()
        group = ReentrantCallbackGroup()
        self._servers = [
            GoalServer(graph.node, kind, name, self._reset, callback_group=group, cancel_callback=self._cancel)
            for kind, name in ((ResetScene, 'reset/scene'), (RunPolicy, 'policy/run'))
        ]
        graph.node.create_service(SetEpisode, 'recorder/set_episode', lambda _, response: response)
        self._diagnostics = graph.node.create_publisher(DiagnosticArray, '/diagnostics', COMMANDS)
        graph.node.create_timer(0.2, self._live)
        self.calls = graph.listen(HelpRequest, 'help', LATCHED)
        self.statuses = graph.listen(CollectorStatus, 'status', LATCHED)
        graph.start(
            'collector',
            'mtopt_collector.collector_node',
            data_folder=str(graph.folder),
            grade_with='none',
            silence=10.0,
            **parameters,
        )
        self._collect = ThreadedActionClient(graph.node, CollectEpisode, 'collector/collect')
        graph.wait_until(lambda: self.statuses and self._collect.server_is_ready(), START_TIMEOUT)
        graph.connect()

    def _live(self) -> None:
        for name in NODES:
            blocked = self.full_disk if name == 'recorder' else ''
            values = [KeyValue(key=PID, value='1'), KeyValue(key=BLOCKED, value=blocked)]
            status = DiagnosticStatus(name=f'/robot1/{name}', values=values)
            self._diagnostics.publish(DiagnosticArray(status=[status]))

    async def _reset(self, handle: ServerGoalHandle) -> ResetScene.Result:
        self.resets.append((time.monotonic(), handle.request.kind))
        self.running += 1
        if self.held:
            await self._release
        self.running -= 1
        handle.canceled() if handle.is_cancel_requested else handle.abort()
        return ResetScene.Result(error_code=self.fault, error_msg='the gripper is stuck')

    def _cancel(self, _: ServerGoalHandle) -> CancelResponse:
        # Only once the cancel is noted: the goal that ends now says that it was cancelled.
        timer = self.graph.node.create_timer(0.1, lambda: (timer.cancel(), self.release()))
        return CancelResponse.ACCEPT

    def release(self) -> None:
        """Let the reset that is held end."""
        release, self._release = self._release, Future()
        if self.running:
            release.set_result(None)
            self.graph._executor.wake()

    def ask(self) -> Any:
        """Ask for an episode; returns the goal's handle."""
        handle = self.graph.result(self._collect.send_goal_async(CollectEpisode.Goal(task='lift-any', seed=-1)))
        assert handle.accepted
        return handle

    def collect(self) -> CollectEpisode.Result:
        return self.graph.result(self.ask().get_result_async(), START_TIMEOUT).result

    def press(self, button: str) -> None:
        assert self.graph.call(Trigger, f'collector/{button}', Trigger.Request()).success

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.graph.call(ChangeState, 'collector/change_state', request).success)

    def called(self, *needed: bool) -> None:
        """Wait until persons were called and sent away so often."""
        self.graph.wait_until(lambda: [call.needed for call in self.calls] == list(needed), START_TIMEOUT)

    def until_state(self, state: int) -> None:
        self.graph.wait_until(lambda: self.statuses[-1].state == state, START_TIMEOUT)


def test_what_happens_again_after_a_person_has_come_calls_a_person_again(graph):
    robot = Robot(graph, episodes=-1)
    robot.called(True)
    robot.press('resume')
    robot.called(True, False, True)
    assert '3 episodes failed in a row' in robot.calls[0].message
    assert robot.calls[0].message == robot.calls[2].message


def test_a_person_who_came_before_the_matter_happened_again_does_not_count_as_having_come(graph):
    robot = Robot(graph, fault=NEEDS_PERSON, episodes=-1)
    robot.called(True)
    robot.held = True
    robot.press('resume')
    robot.called(True, False)
    graph.wait_until(lambda: robot.running)
    robot.press('resume')
    robot.release()
    robot.called(True, False, True)
    time.sleep(1.0)
    assert robot.calls[-1].needed
    assert robot.statuses[-1].state == CollectorStatus.STATE_NEEDS_PERSON


def test_a_real_robot_that_needs_a_person_still_does_after_another_wait_and_moves_nothing_till_one_says_so(graph):
    robot = Robot(graph, fault=NEEDS_PERSON, episodes=-1)
    robot.called(True)
    robot.full_disk = 'make room'
    robot.until_state(CollectorStatus.STATE_WAITING)
    robot.full_disk = ''
    robot.until_state(CollectorStatus.STATE_NEEDS_PERSON)
    assert 'the gripper is stuck' in robot.statuses[-1].message
    time.sleep(UNATTENDED_PERIOD + 1.5)
    assert len(robot.resets) == 1
    robot.press('resume')
    graph.wait_until(lambda: len(robot.resets) == 2)


def test_a_simulated_robot_tries_again_by_itself_after_a_while_as_nobody_can_be_in_its_way(graph):
    robot = Robot(graph, fault=NEEDS_PERSON, episodes=-1, simulated=True)
    robot.called(True)
    graph.wait_until(lambda: len(robot.resets) == 2)
    (first, _), (second, _) = robot.resets
    assert second - first > UNATTENDED_PERIOD


def test_a_reset_that_is_asked_for_has_the_scene_made_anew_before_the_next_episode(graph):
    robot = Robot(graph, held=True, episodes=-1)
    graph.wait_until(lambda: robot.running)
    robot.press('reset')
    robot.release()
    graph.wait_until(lambda: len(robot.resets) == 2)
    assert [kind for _, kind in robot.resets] == [ResetScene.Goal.KEEP_SCENE, ResetScene.Goal.NEW_SCENE]
    robot.release()


def test_every_wait_of_an_idle_robot_has_the_whole_patience_and_its_call_ends_with_it(graph):
    patience = 5.0
    robot = Robot(graph, episodes=0, patience=patience)
    robot.until_state(CollectorStatus.STATE_IDLE)
    for _ in range(2):
        robot.full_disk = 'make room'
        robot.until_state(CollectorStatus.STATE_WAITING)
        time.sleep(0.6 * patience)
        assert not robot.calls
        robot.full_disk = ''
        robot.until_state(CollectorStatus.STATE_IDLE)
        time.sleep(0.5 * patience)
    robot.full_disk = 'make room'
    robot.called(True)
    robot.full_disk = ''
    robot.called(True, False)


def test_a_goal_that_waits_is_answered_when_cancelled_and_not_carried_out_later(graph):
    robot = Robot(graph, episodes=0)
    robot.full_disk = 'make room'
    robot.until_state(CollectorStatus.STATE_WAITING)
    goal = robot.ask()
    assert graph.result(goal.cancel_goal_async()).goals_canceling
    answer = graph.result(goal.get_result_async())
    assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_CANCELED, Fault.CANCELED)
    deactivated = robot.ask()
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    answer = graph.result(deactivated.get_result_async())
    assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_ABORTED, Fault.BUSY)
    assert 'not active' in answer.result.error_msg
    robot.full_disk = ''
    graph.wait_until(lambda: robot.change(Transition.TRANSITION_ACTIVATE))
    robot.until_state(CollectorStatus.STATE_IDLE)
    time.sleep(1.0)
    assert not robot.resets


def test_beside_a_real_arm_no_goal_is_carried_out_while_paused_or_a_person_is_needed(graph):
    robot = Robot(graph, fault=NEEDS_PERSON, episodes=0)
    failed = robot.collect()
    assert failed.error_code == Fault.RESET_FAILED
    assert failed.task == 'lift-any'
    assert failed.episode_id
    refused = robot.collect()
    assert refused.error_code == Fault.BUSY
    assert 'the gripper is stuck' in refused.error_msg
    assert '/robot1/collector/resume' in refused.error_msg
    robot.press('resume')
    robot.press('pause')
    assert 'paused' in robot.collect().error_msg
    assert len(robot.resets) == 1
    robot.press('resume')
    assert robot.collect().error_code == Fault.RESET_FAILED
    assert len(robot.resets) == 2


def test_a_goal_that_is_cancelled_while_the_cell_is_made_ready_is_no_failure(graph):
    robot = Robot(graph, held=True, episodes=0, max_failures=1)
    goal = robot.ask()
    graph.wait_until(lambda: robot.running)
    assert graph.result(goal.cancel_goal_async()).goals_canceling
    answer = graph.result(goal.get_result_async())
    assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_CANCELED, Fault.CANCELED)
    assert answer.result.episode_id
    robot.until_state(CollectorStatus.STATE_IDLE)


def test_a_collector_whose_episode_is_still_being_ended_is_not_activated(graph):
    robot = Robot(graph, held=True, episodes=-1)
    graph.wait_until(lambda: robot.running)
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert not robot.change(Transition.TRANSITION_ACTIVATE)
    assert 'still being ended; try again' in graph.log('collector')
    graph.wait_until(lambda: not robot.running)
    graph.wait_until(lambda: robot.change(Transition.TRANSITION_ACTIVATE))
    graph.wait_until(lambda: robot.running)
    assert robot.running == 1

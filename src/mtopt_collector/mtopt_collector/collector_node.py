"""Collects episodes without end, or one per goal, by driving the robot's other nodes."""

from __future__ import annotations

import secrets
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from std_srvs.srv import Trigger

from mtopt_collector.cadence import append_cadence
from mtopt_collector.cell_node import CELL_FILE, DATA_FOLDER, TASKS_FILE
from mtopt_collector.collect_goals_node import CollectGoals
from mtopt_collector.collection import (
    CURRICULUM,
    NOBODY,
    Collected,
    Collection,
    CollectionError,
    Fault,
    Identity,
    State,
)
from mtopt_collector.collector_status_node import status_of
from mtopt_collector.curriculum import Chooser, load_curriculum
from mtopt_collector.help_call import HelpCall
from mtopt_collector.help_requests_node import HelpRequests
from mtopt_collector.patience import Patience
from mtopt_collector.practice import Practice
from mtopt_collector.robot_client_node import RobotClientNode
from mtopt_collector.scheduler import Scheduler
from mtopt_core.errors import MtoptError
from mtopt_core.label_store import DEFAULT_SOURCES, DETECTOR, HUMAN, SIMULATOR
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_msgs import msg
from mtopt_msgs.action import CollectEpisode
from mtopt_node.conversions import header, outcomes_to_message
from mtopt_node.node import ERROR, OK, WARN, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import EVENTS, LATCHED
from mtopt_policy.policies import NAMES

PAUSE_AFTER_FAILURE = 1.0
STOP_TIMEOUT = 2.0
ENDING = 0.5  # s that an idle collection may take to end
IDLE_PERIOD = 0.1
SETTLING = 0.5
UNATTENDED_PERIOD = 5.0
EVERLASTING = -1


class StillEndingError(MtoptError):
    """What an activation before has begun has not ended yet."""


class CollectorNode(RobotClientNode):
    """Serves `~/collect`, `~/pause` and `~/resume`, and collects by itself as many episodes as it is told."""

    NAME = 'collector'
    PARAMETERS = (
        CELL_FILE,
        TASKS_FILE,
        DATA_FOLDER,
        Parameter('simulated', False, 'a simulator is driven'),
        Parameter('new_scenes', 'robot', 'who makes new scenes', choices=('simulator', 'robot', 'person')),
        Parameter('episodes', 0, 'to collect unasked; 0: only on request, -1: without end', minimum=EVERLASTING),
        Parameter('policy', 'scripted', 'of episodes nobody asked for', choices=(*NAMES, CURRICULUM)),
        Parameter('curriculum', '', 'who practises what, by which policy; empty: config/curriculum.yaml'),
        Parameter('seed', -1, 'of the scheduler; -1: drawn', minimum=-1),
        Parameter('chain', True, 'place what a lift has brought up'),
        Parameter('episodes_per_scene', 10, 'after which a scene is spent', minimum=1),
        Parameter('tries_without_lift', 5, 'lifts without success after which a scene is spent', minimum=1),
        Parameter('grade_with', DETECTOR, 'who grades the final images', choices=(DETECTOR, SIMULATOR, NOBODY)),
        Parameter('max_failures', 3, 'failed episodes in a row after which a person is needed', minimum=1),
        Parameter('silence', 3.0, 's without a sign of life after which a node is taken for dead', minimum=1.0),
        Parameter('simulator_silence', 3.0, 'the same of the simulator, which may be busy for longer', minimum=1.0),
        Parameter('servers', '', "namespace of policy and detector node; empty: the robot's own"),
        Parameter('patience', 60.0, 's of waiting for nodes or for room on the disk before a person is called', 1.0),
        Parameter('help_command', '', 'run when a person is called, and when none is needed any more; see docs'),
    )

    def __init__(self) -> None:
        super().__init__()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def configure(self) -> None:
        """Find the other nodes and offer the action."""
        self._await_the_end()
        super().configure()
        self._data = DataFolder(Path(self.value('data_folder')))
        self._data.root.mkdir(parents=True, exist_ok=True)
        seed = self.value('seed')
        simulated = self.value('simulated')
        tasks = load_tasks(self.value('tasks_file'))
        self._practice: Practice | None = None
        if self.value('policy') == CURRICULUM:
            chooser = Chooser(load_curriculum(self.value('curriculum'), self.robot, tasks))
            graded_by = (HUMAN, SIMULATOR) if self.value('grade_with') == SIMULATOR else DEFAULT_SOURCES
            self._practice = Practice(self._data, tasks, graded_by, chooser)
        scheduler = Scheduler(
            tasks,
            secrets.randbits(31) if seed < 0 else seed,
            self.value('episodes_per_scene'),
            self.value('tries_without_lift'),
            self.value('chain'),
            by_hand=self.value('new_scenes') != SIMULATOR,
            chooser=None if self._practice is None else self._practice.chooser,
        )
        self._collection = Collection(
            self,
            scheduler,
            Identity(self.robot, simulated, self.cell.model_dump_json()),
            self._data,
            self.value('grade_with'),
            self.value('max_failures'),
            self._announce,
            self._practice,
        )
        self._left = self.value('episodes')
        self._paused = self._skipping = False
        self._state = State.IDLE
        self._image_age: float | None = None
        self._help = HelpRequests(self, HelpCall(self.robot, self.value('help_command'), self._data), self._stopped)
        self._obstacles, self._failures = (Patience(self.value('patience'), self._help.tell) for _ in range(2))
        self._obstacle, self._needs_person_at = '', 0.0
        self._status = self.create_publisher(msg.CollectorStatus, 'status', LATCHED)
        self._outcomes = self.create_publisher(msg.TaskOutcomes, 'outcomes', EVENTS)
        self.create_service(Trigger, '~/pause', self._pause)
        self.create_service(Trigger, '~/resume', self._resume)
        self.create_service(Trigger, '~/skip', self._skip)
        self.create_service(Trigger, '~/reset', self._reset)
        self._goals = CollectGoals(self, self._refusal)

    def activate(self) -> None:
        """Start collecting in a thread of its own; what a collector that died before has begun is cancelled.

        Raises:
            StillEndingError: The thread of the activation before has not ended.
        """
        self._await_the_end()
        super().activate()
        self._announce(State.IDLE, '', '', '')
        self._stopped.clear()
        self._thread = threading.Thread(target=self._work, name='collection', daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Cancel the running episode and start no other."""
        super().deactivate()
        if self._thread is not None:
            self._stopped.set()
            self._goals.refuse_waiting()

    def cleanup(self) -> None:
        """Close the label store."""
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT)
            self._collection.close()
            if self._practice is not None:
                self._practice.close()
            if not self._thread.is_alive():
                self._thread = None

    def _await_the_end(self) -> None:
        """See that no thread of an activation before collects: an arm obeys one at a time.

        It is not waited for long. An episode is ended by the answers of other nodes, which come by the very executor
        that carries out the transition.
        """
        if self._thread is not None:
            self._thread.join(ENDING)
            if self._thread.is_alive():
                raise StillEndingError('the running episode is still being ended; try again in a moment')

    def cancelled(self) -> bool:
        """Return whether the node was stopped, the running episode skipped or its goal cancelled."""
        return self._stopped.is_set() or self._skipping or self._goals.cancelled

    def _pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._paused = True
        if self._state is State.IDLE:
            self._announce(State.IDLE, '', '', '')
        response.success, response.message = True, 'pausing after the running episode'
        return response

    def _resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._paused = False
        # In this order: the collection's own thread withdraws the call once nobody is needed, and may look in between.
        self._collection.helped()
        self._obstacles.is_over()
        self._failures.is_over()
        self._help.answer()
        if self._state in (State.PAUSED, State.NEEDS_PERSON):
            self._announce(State.IDLE, '', '', '')
        response.success, response.message = True, 'going on'
        return response

    def _skip(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._state is State.RUNNING
        self._skipping = response.success
        response.message = 'skipping the running episode' if response.success else 'no episode runs'
        return response

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._skipping = self._state is State.RUNNING
        self._collection.spend_scene()
        response.success, response.message = True, 'the scene is made anew before the next episode'
        return response

    def take_diagnostics(self, array: DiagnosticArray) -> None:
        """Take a node's sign of life, and how old the images are."""
        super().take_diagnostics(array)
        for status in array.status:
            if status.name == f'/{self.robot}/camera_ingestion':
                ages = [pair.value for pair in status.values if pair.key == 'image_age']
                with suppress(ValueError):
                    self._image_age = float(ages[0]) if ages else None

    def _work(self) -> None:
        """Collect until the node is stopped; runs in a thread of its own."""
        while not self._stopped.is_set():
            try:
                self._turn()
            except Exception as error:
                if not self.context.ok():
                    return
                self.get_logger().error(traceback.format_exc())
                self.report(ERROR, f'collecting failed: {type(error).__name__}: {error}')
                self._stopped.wait(PAUSE_AFTER_FAILURE)

    def _turn(self) -> None:
        """Wait for what is in the way, answer a goal, or collect an episode nobody asked for."""
        # Who came before the last failure did not come because of it.
        if self._help.take_answer() and not self._collection.needs_person:
            self._help.tell('')
        cancelled = self.cancel_goals()
        if self._held_up() or not cancelled:
            self._stopped.wait(IDLE_PERIOD)
            return
        if not self._wanted():
            self._nothing_held_up()
        self._try_again_unattended()
        goal = self._goals.next(0.0 if self._wanted() else IDLE_PERIOD)
        if goal is not None:
            self._answer(goal)
        elif self._wanted():
            self._collect_unasked()

    def _held_up(self) -> bool:
        """Return whether something is in the way, and tell when that changes; a person is called in the end."""
        obstacle = self.obstacle()
        if obstacle != self._obstacle:
            self._obstacle = obstacle
            if obstacle:
                self.report(WARN, obstacle)
                self._announce(State.WAITING, '', '', obstacle)
            else:
                # A node that has just come back may not have been found by all others yet.
                self._stopped.wait(SETTLING)
                if self._state is State.WAITING:
                    self.report(OK, 'going on')
                    needed = self._collection.needs_person
                    self._announce(State.NEEDS_PERSON if needed else State.IDLE, '', '', needed)
        if obstacle:
            self._obstacles.lasts(obstacle)
        else:
            self._obstacles.is_over()
        return bool(obstacle)

    def _nothing_held_up(self) -> None:
        """Note that nobody waits for an episode: nothing fails, and what a person was called for has gone by itself."""
        self._failures.is_over()
        if not self._collection.needs_person:
            self._help.tell('')

    def _try_again_unattended(self) -> None:
        """After a row of failures, try again by itself where nobody can be in the arm's way: in a simulation."""
        waited = self.now - self._needs_person_at
        if self._collection.needs_person and self.value('simulated') and waited > UNATTENDED_PERIOD:
            self._collection.helped()
            self._announce(State.IDLE, '', '', '')

    def _refusal(self) -> str:
        """Return why nothing is collected, though asked for, before somebody says so; empty when it is."""
        resume = f'call {self.resolve_service_name("~/resume")} first'
        if not self.active:
            return 'the collector is not active; activate it'
        if self._paused:
            return f'the collection is paused; {resume}'
        # A simulated cell, where nobody can be in the arm's way, is tried again anyway.
        if self._collection.needs_person and not self.value('simulated'):
            return f'a person is needed: {self._collection.needs_person}; {resume}'
        return ''

    def _wanted(self) -> bool:
        """Return whether an episode nobody asked for is to be collected."""
        return self._left != 0 and not self._paused and not self._collection.needs_person

    def _collect_unasked(self) -> None:
        self._skipping = False
        try:
            collected = self._collection.next(self.value('policy'))
            noted = self._note(collected)
            self._keep(collected)
        except CollectionError as error:
            self.report(WARN, str(error))
            self._failures.lasts(str(error))
            self._stopped.wait(PAUSE_AFTER_FAILURE)
        else:
            # Whoever waits for so many counts those that were noted.
            self._left -= noted and self._left > 0

    def _answer(self, goal: CollectEpisode.Goal) -> None:
        """Collect the episode of a goal and answer it."""
        self._skipping = False
        result = CollectEpisode.Result()
        policy, seed = goal.policy or self.value('policy'), None if goal.seed < 0 else goal.seed
        try:
            if goal.task:
                collected = self._collection.requested(goal.task, policy, seed)
            else:
                collected = self._collection.next(policy, seed)
            self._note(collected)
            result.outcomes = self._keep(collected)
            result.episode_id, result.task = collected.info.episode_id, collected.info.task
            result.bag_path = str(collected.recorded.path)
        except CollectionError as error:
            result.error_code, result.error_msg = error.fault, str(error)
            result.episode_id, result.task = error.episode_id, error.task
            result.bag_path = '' if error.bag is None else str(error.bag)
        except Exception as error:
            result.error_code, result.error_msg = Fault.UNKNOWN, f'{type(error).__name__}: {error}'
        self._goals.complete(result)

    def _note(self, collected: Collected) -> bool:
        """Note the episode's cadence; return whether there was room for it. The episode itself is kept anyway."""
        try:
            append_cadence(self._data, collected, self._image_age, self.cell.step.duration)
        except OSError as error:
            self.get_logger().warning(f'the cadence of {collected.info.episode_id} was not noted: {error}')
            return False
        return True

    def _keep(self, collected: Collected) -> msg.TaskOutcomes:
        """Publish the episode's outcomes; the detector publishes its own."""
        self._failures.is_over()
        self._help.tell('')
        outcomes = outcomes_to_message(
            collected.outcomes, self.get_clock().now().nanoseconds, collected.info.episode_id, collected.source
        )
        if collected.source == SIMULATOR:
            self._outcomes.publish(outcomes)
        self.report(OK, 'collecting', episodes=self._collection.episodes, successes=self._collection.successes)
        return outcomes

    def _announce(self, state: State, task: str, episode_id: str, message: str) -> None:
        if state is State.IDLE and self._paused:
            state = State.PAUSED
        self._state = state
        status = status_of(self._collection)
        status.header, status.robot = header(self.get_clock().now().nanoseconds, ''), self.robot
        status.state, status.task, status.episode_id, status.message = state, task, episode_id, message
        self._status.publish(status)
        self._goals.tell(state, task)
        if state is State.NEEDS_PERSON:
            self._needs_person_at = self.now
            request = f'{message}; then `mtopt resume {self.robot}`, or P on the page of `mtopt web`'
            self.report(WARN, f'needs a person: {request}')
            self._help.tell(request)


def main() -> int:
    """Run the node."""
    return run(CollectorNode)


if __name__ == '__main__':
    sys.exit(main())

"""The lifecycle node every node of mtopt derives from.

A subclass lists its `PARAMETERS` and overrides `configure`, `activate`, `deactivate` and `cleanup`, which return
nothing and raise to refuse. The topics, services, actions and timers they create go by themselves at the cleanup. The
base turns that into lifecycle transitions, starts the node by itself unless told not to, publishes diagnostics, and
keeps it alive when a callback raises: rclpy swallows or dies on such exceptions, both of which leave a cell without a
word about why.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import State
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from mtopt_core import environment
from mtopt_core.child_processes import SHOW_STACKS
from mtopt_core.errors import ConfigurationError, MtoptError
from mtopt_core.heartbeats import BLOCKED, PID
from mtopt_core.shared_memory import dead_ports_held
from mtopt_node.parameters import Parameter, Value
from mtopt_node.qos import COMMANDS

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

AUTOSTART = Parameter('autostart', True, 'configure and activate at start, without a lifecycle manager')
# The sign of life by which others know that a node is alive and its callbacks run.
DIAGNOSTICS_PERIOD = 0.5  # s
# For what comes after the cleanup: DDS and OpenGL let go of what they hold, and nothing more can be lost.
LEAVE_TIMEOUT = 5.0  # s


class Node(LifecycleNode):
    """A lifecycle node with declared parameters and diagnostics.

    Attributes:
        NAME: Default node name.
        PARAMETERS: What the node can be told.
        THREADS: 1 for a single-threaded executor; more where a callback waits for another.
    """

    NAME: ClassVar[str]
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = ()
    THREADS: int = 1

    def __init__(self) -> None:
        super().__init__(self.NAME)
        for parameter in (AUTOSTART, *self.PARAMETERS):
            self.declare_parameter(parameter.name, parameter.default, parameter.descriptor())
            if parameter.choices and self.value(parameter.name) not in parameter.choices:
                raise ConfigurationError(
                    f'node {self.NAME}: parameter {parameter.name} is {self.value(parameter.name)!r}; '
                    f'use one of {", ".join(parameter.choices)}'
                )
        self._level: bytes = OK
        self._message = 'starting'
        self._values: dict[str, Any] = {PID: os.getpid()}
        self._health_lock = threading.Lock()
        self._permanent: set[Any] = set()
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', COMMANDS)
        # Steady: a sign of life must not wait for a clock that somebody sets back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)

    def configure(self) -> None:
        """Acquire what the node needs: files, models, publishers, subscriptions."""

    def activate(self) -> None:
        """Start working."""

    def deactivate(self) -> None:
        """Stop working; the arm holds."""

    def cleanup(self) -> None:
        """Release what is no topic, service, action or timer; also called when the process ends."""

    def create_publisher(self, *args: Any, **kwargs: Any) -> Publisher:
        """Create a publisher without QoS event handlers: each costs the executor at every message of the node."""
        kwargs.setdefault('event_callbacks', PublisherEventCallbacks(use_default_callbacks=False))
        return super().create_publisher(*args, **kwargs)

    def create_subscription(self, *args: Any, **kwargs: Any) -> Subscription:
        """Create a subscription without QoS event handlers, which would double the cost of every message."""
        kwargs.setdefault('event_callbacks', SubscriptionEventCallbacks(use_default_callbacks=False))
        return super().create_subscription(*args, **kwargs)

    def destroy_timer(self, timer: Timer) -> bool:
        """Destroy a timer; what its callback group remembers of earlier ones goes too."""
        _forget_the_gone(timer.callback_group)
        return super().destroy_timer(timer)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """Destroy a subscription; what its callback group remembers of earlier ones goes too."""
        _forget_the_gone(subscription.callback_group)
        return super().destroy_subscription(subscription)

    def value(self, name: str) -> Any:
        """Return a parameter's value."""
        return self.get_parameter(name).value

    def report(self, level: bytes, message: str, **values: Value) -> None:
        """Set the node's health; a change of level or message is logged and published at once.

        Args:
            level: `OK`, `WARN` or `ERROR`.
            message: What is the matter and the way out.
            values: Figures to publish beside it; earlier ones stay.
        """
        with self._health_lock:
            self._values.update(values)
            changed = (level, message) != (self._level, self._message)
            self._level, self._message = level, message
        if changed:
            self._log(level, message)
            self._publish_diagnostics()

    @property
    def blocked(self) -> str:
        """Why nothing can be collected because of this node; empty while it can."""
        return str(self._values.get(BLOCKED, ''))

    def block(self, reason: str) -> None:
        """Say that nothing can be collected because of this node, and why; empty: now it can.

        Beside the health, which every message may change: this stays until it is taken back.
        """
        with self._health_lock:
            changed = self._values.get(BLOCKED, '') != reason
            self._values[BLOCKED] = reason
        if changed and reason:
            self.report(ERROR, reason)
        elif changed:
            self.report(OK, 'running')

    def _log(self, level: bytes, message: str) -> None:
        # rclpy refuses a logging call whose severity changes at the same line of code.
        if level == OK:
            self.get_logger().info(message)
        elif level == WARN:
            self.get_logger().warning(message)
        else:
            self.get_logger().error(message)

    def figures(self, **values: Value) -> None:
        """Update figures published with the diagnostics, without changing the health."""
        with self._health_lock:
            self._values.update(values)

    def _publish_diagnostics(self) -> None:
        if not self.context.ok():
            return
        with self._health_lock:
            status = DiagnosticStatus(
                level=self._level,
                name=self.get_fully_qualified_name(),
                message=self._message,
                hardware_id=self.get_namespace().strip('/'),
                values=[KeyValue(key=key, value=str(value)) for key, value in self._values.items()],
            )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _transition(self, name: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except MtoptError as error:
            self.report(ERROR, f'{name} failed: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            self.report(ERROR, f'{name} failed: {type(error).__name__}: {error}')
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _entities(self) -> list[Any]:
        kinds = (self.subscriptions, self.publishers, self.services, self.clients, self.timers, self.waitables)
        return [entity for kind in kinds for entity in kind]

    def _clean_up(self) -> None:
        """Run `cleanup` and destroy what was created since `configure`, so that the node can be configured again."""
        self.cleanup()
        kinds: tuple[tuple[Iterable[Any], Callable[[Any], Any]], ...] = (
            (self.timers, self.destroy_timer),
            (self.subscriptions, self.destroy_subscription),
            (self.publishers, self.destroy_publisher),
            (self.services, self.destroy_service),
            (self.clients, self.destroy_client),
            # Of waitables only the actions are left now; those of subscriptions and publishers went with them.
            (self.waitables, lambda action: action.destroy()),
        )
        for entities, destroy in kinds:
            for entity in [one for one in entities if one not in self._permanent]:
                destroy(entity)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:  # noqa: ARG002
        """Run `configure`."""
        self._permanent = self._permanent or set(self._entities())
        return self._transition('configure', self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        result = self._transition('activate', self.activate)
        if result == TransitionCallbackReturn.SUCCESS:
            if self._message == 'starting':
                self.report(OK, 'running')
            return super().on_activate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        super().on_deactivate(state)
        return self._transition('deactivate', self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:  # noqa: ARG002
        """Run `cleanup`, and destroy what was created since `configure`."""
        return self._transition('cleanup', self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run what is left of `deactivate` and `cleanup`: a node that was shut down must not work on."""
        active = state.state_id == State.PRIMARY_STATE_ACTIVE
        if active:
            super().on_deactivate(state)

        def end() -> None:
            try:
                if active:
                    self.deactivate()
            finally:
                if state.state_id != State.PRIMARY_STATE_UNCONFIGURED:
                    self._clean_up()

        return self._transition('shutdown', end)


def _forget_the_gone(group: CallbackGroup) -> None:
    """Drop a group's references to what is no more, which rclpy keeps for ever.

    Not the one to what is being destroyed: the executor may be about to call it, and looks it up.
    """
    group.entities.difference_update([entity for entity in tuple(group.entities) if entity() is None])


def run(node_type: type[Node], args: list[str] | None = None) -> int:
    """Start a node, spin it until SIGINT or SIGTERM, clean up.

    Returns:
        The exit status: 1 when the node could not start, else 0. A process that hangs when all is cleaned up prints
        where, and ends with 1.
    """
    environment.prepare()
    faulthandler.register(SHOW_STACKS)  # from C: where Python itself is stuck, too
    try:
        with dead_ports_held():
            rclpy.init(args=args)
            node = node_type()
    except MtoptError as error:
        rclpy.logging.get_logger(node_type.NAME).error(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor() if node.THREADS == 1 else MultiThreadedExecutor(node.THREADS)
    executor.add_node(node)
    started = True
    try:
        if node.value('autostart'):
            started = all(
                transition() == TransitionCallbackReturn.SUCCESS
                for transition in (node.trigger_configure, node.trigger_activate)
            )
        if started:
            _spin(node, executor)
    except KeyboardInterrupt:
        pass
    finally:
        _stop(node)
        faulthandler.dump_traceback_later(LEAVE_TIMEOUT, exit=True)
        executor.shutdown(timeout_sec=2.0)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0 if started else 1


def _spin(node: Node, executor: SingleThreadedExecutor | MultiThreadedExecutor) -> None:
    while rclpy.ok():
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            return
        except KeyboardInterrupt:
            raise
        except Exception as error:
            if not rclpy.ok():
                return  # a signal shut ROS down while a callback ran
            # One bad message must not take the node down, nor pass in silence.
            node.get_logger().error(traceback.format_exc())
            node.report(ERROR, f'callback failed: {type(error).__name__}: {error}')
            time.sleep(0.05)


def _stop(node: Node) -> None:
    # Ctrl-C reaches a launched node twice, from the terminal and from its launcher: the second must not cut this short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for action in (node.deactivate, node.cleanup):
        try:
            action()
        except Exception:
            node.get_logger().error(traceback.format_exc())

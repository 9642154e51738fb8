from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from mtopt_core.environment import free_domain, prepare
from mtopt_msgs.action import ResetScene
from mtopt_node.calls import CallError, GoalServer, ThreadedActionClient, run_goal

GOALS = 300


@contextmanager
def action(kept, client_type=ThreadedActionClient, carry_out=None):
    """Serve an action, one that succeeds at once, in another node than its client's; yields client and server."""
    prepare()
    rclpy.init(domain_id=free_domain())
    client_node, server_node = rclpy.create_node('client'), rclpy.create_node('server')

    def succeed(goal):
        goal.succeed()
        return ResetScene.Result(error_msg=goal.request.skill)

    server = GoalServer(server_node, ResetScene, 'scene', carry_out or succeed, kept=kept)
    client = client_type(client_node, ResetScene, 'scene')
    executors = []
    for node in (client_node, server_node):
        executors.append(SingleThreadedExecutor())
        executors[-1].add_node(node)
    threads = [threading.Thread(target=executor.spin, daemon=True) for executor in executors]
    for thread in threads:
        thread.start()
    yield client, server
    for executor, thread in zip(executors, threads, strict=True):
        executor.shutdown()
        thread.join(10)
    server.destroy()
    client.destroy()
    for node in (client_node, server_node):
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def eager_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def forgotten(server):
    deadline = time.monotonic() + 20
    while server.goals and time.monotonic() < deadline:
        time.sleep(0.05)
    return not server.goals


@pytest.mark.usefixtures('eager_threads')
def test_no_answer_is_lost_when_another_thread_sends_the_goals():
    with action(kept=30.0) as (client, _):
        for number in range(GOALS):
            assert run_goal(client, ResetScene.Goal(skill=str(number)), timeout=30.0).error_msg == str(number)


def test_a_server_forgets_goals_that_have_ended():
    with action(kept=0.5) as (client, server):
        for _ in range(20):
            run_goal(client, ResetScene.Goal(), timeout=10.0)
        assert forgotten(server)
        assert run_goal(client, ResetScene.Goal(skill='another'), timeout=10.0).error_msg == 'another'


def test_a_goal_whose_callback_crashes_is_no_success():
    def crash(goal):
        raise RuntimeError('no such bin')

    with action(kept=30.0, carry_out=crash) as (client, _), pytest.raises(CallError, match='without a result'):
        run_goal(client, ResetScene.Goal(), timeout=10.0)


def test_a_result_that_is_asked_for_too_late_is_not_taken_for_an_empty_one():
    class Late(ThreadedActionClient):
        def _get_result_async(self, goal_handle):
            assert forgotten(server)
            return super()._get_result_async(goal_handle)

    with action(kept=0.5, client_type=Late) as (client, server), pytest.raises(CallError, match='too late'):
        run_goal(client, ResetScene.Goal(), timeout=10.0)

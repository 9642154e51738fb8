from __future__ import annotations

import random
import sys
import threading

import pytest
import rclpy
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor

from mtopt_core.environment import prepare
from mtopt_msgs.action import ResetScene
from mtopt_node.calls import ThreadedActionClient, run_goal

GOALS = 300


@pytest.fixture
def client():
    prepare()
    rclpy.init(domain_id=random.randint(1, 101))
    client_node, server_node = rclpy.create_node('client'), rclpy.create_node('server')

    def succeed(goal):
        goal.succeed()
        return ResetScene.Result(error_msg=goal.request.skill)

    server = ActionServer(server_node, ResetScene, 'scene', succeed)
    client = ThreadedActionClient(client_node, ResetScene, 'scene')
    executors = []
    for node in (client_node, server_node):
        executors.append(SingleThreadedExecutor())
        executors[-1].add_node(node)
    threads = [threading.Thread(target=executor.spin, daemon=True) for executor in executors]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield client
    sys.setswitchinterval(interval)
    for executor, thread in zip(executors, threads, strict=True):
        executor.shutdown()
        thread.join(10)
    server.destroy()
    client.destroy()
    for node in (client_node, server_node):
        node.destroy_node()
    rclpy.try_shutdown()


def test_no_answer_is_lost_when_another_thread_sends_the_goals(client):
    for number in range(GOALS):
        assert run_goal(client, ResetScene.Goal(skill=str(number)), timeout=1.0).error_msg == str(number)

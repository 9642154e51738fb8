"""Does the recorder lose messages? Three 472 px cameras at 30 Hz, joint states at 100 Hz, over real DDS.

Publishes JPEGs to a real recorder process for some minutes, ends the episode and compares what is in the bag with what
was published, topic by topic. Prints the recorder's CPU time, of one core, beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import rclpy
import typer
from measuring import load
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sensor_msgs.msg import CompressedImage, JointState

from mtopt_core.bag import BagReader
from mtopt_core.environment import free_domain, prepare
from mtopt_core.episode import EpisodeInfo, Termination
from mtopt_core.images import encode_jpeg
from mtopt_msgs import msg
from mtopt_msgs.srv import SetEpisode
from mtopt_node.conversions import episode_info_to_message, header
from mtopt_node.qos import COMMANDS, OBSERVATIONS

ROBOT = 'bench'
CAMERAS = ('main', 'side_left', 'side_right')
SIZE = 472
IMAGE_RATE, JOINT_RATE = 30.0, 100.0
PICTURES = 10
WRITING_TIME = 3.0


def pictures(number: int) -> list[bytes]:
    """Return JPEGs of the size a camera's have: smooth surfaces under the noise of a sensor."""
    rng = np.random.default_rng(0)
    jpegs = []
    for _ in range(number):
        surfaces = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(surfaces + rng.normal(0, 4, surfaces.shape), 0, 255).astype(np.uint8)
        jpegs.append(encode_jpeg(noisy, 90))
    return jpegs


class Ticker:
    """Calls something at a steady rate, catching up when it was held up.

    Args:
        rate: Hz.
        action: Called with the number of the tick.
    """

    def __init__(self, rate: float, action: Callable[[int], None]) -> None:
        self._period, self._action = 1 / rate, action
        self._start, self._ticks = time.monotonic(), 0

    @property
    def due(self) -> float:
        """Steady time of the next tick, s."""
        return self._start + self._ticks * self._period

    def tick(self) -> None:
        """Call the action if it is due."""
        if time.monotonic() >= self.due:
            self._action(self._ticks)
            self._ticks += 1


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used, s."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def main(seconds: Annotated[float, typer.Option(help='How long to record.')] = 300.0) -> None:
    """Measure how many messages a recorder loses, and what it costs."""
    prepare()
    os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
    with tempfile.TemporaryDirectory() as data:
        arguments = ['--ros-args', '-r', f'__ns:=/{ROBOT}', '-p', f'data_folder:={data}']
        recorder = subprocess.Popen([sys.executable, '-m', 'mtopt_collector.recorder_node', *arguments])
        try:
            _measure(recorder.pid, seconds)
        finally:
            recorder.terminate()
            recorder.wait()


def _measure(recorder: int, seconds: float) -> None:
    rclpy.init()
    node = rclpy.create_node('bench', namespace=ROBOT)
    client = node.create_client(SetEpisode, 'recorder/set_episode')
    images = {
        name: node.create_publisher(CompressedImage, f'cameras/{name}/compressed', OBSERVATIONS) for name in CAMERAS
    }
    joints = node.create_publisher(JointState, 'joint_states', COMMANDS)
    client.wait_for_service()
    while not all(publisher.get_subscription_count() for publisher in (*images.values(), joints)):
        time.sleep(0.05)

    def set_episode(phase: int, termination: Termination = Termination.NONE) -> SetEpisode.Response:
        info = EpisodeInfo('bench', ROBOT, 'lift-any', 'lift', 'scripted', termination=termination)
        future = client.call_async(SetEpisode.Request(info=episode_info_to_message(info, phase, info.stamp)))
        rclpy.spin_until_future_complete(node, future)
        return future.result()

    jpegs = pictures(PICTURES)
    published: Counter[str] = Counter()

    def show(number: int) -> None:
        stamp = header(time.time_ns(), 'camera')
        for publisher in images.values():
            publisher.publish(CompressedImage(header=stamp, format='jpeg', data=jpegs[number % PICTURES]))
            published[publisher.topic_name] += 1

    def stand(_: int) -> None:
        joints.publish(JointState(header=header(time.time_ns()), position=[0.0] * 8))
        published[joints.topic_name] += 1

    set_episode(msg.EpisodeInfo.PHASE_START)
    before, start = cpu_seconds(recorder), time.monotonic()
    tickers = [Ticker(IMAGE_RATE, show), Ticker(JOINT_RATE, stand)]
    with Progress(transient=True) as progress:
        task = progress.add_task('recording', total=seconds)
        while time.monotonic() < start + seconds:
            for ticker in tickers:
                ticker.tick()
            progress.update(task, completed=time.monotonic() - start)
            time.sleep(max(0.0, min(ticker.due for ticker in tickers) - time.monotonic()))
    share = (cpu_seconds(recorder) - before) / (time.monotonic() - start)
    time.sleep(WRITING_TIME)
    response = set_episode(msg.EpisodeInfo.PHASE_END, Termination.ABORTED)
    rclpy.shutdown()
    if response.error_code:
        raise SystemExit(f'the recorder failed: {response.error_msg}')
    _report(published, Path(response.bag_path), response.dropped, share, sum(map(len, jpegs)) / len(jpegs))


def _report(published: Counter[str], path: Path, dropped: int, share: float, size: float) -> None:
    with BagReader(path) as bag:
        recorded = Counter(message.topic for message in bag.messages(list(published)))
    table = Table('topic', 'published', 'recorded', 'lost')
    for topic, count in published.items():
        table.add_row(topic, str(count), str(recorded[topic]), str(count - recorded[topic]))
    lost = sum(published.values()) - sum(recorded.values())
    console = Console()
    console.print(table)
    console.print(f'messages lost {lost} (limit 0), dropped by the queue {dropped}, recorder CPU {share:.1%} of a core')
    console.print(f'images {size / 1000:.0f} kB each, bag {sum(f.stat().st_size for f in path.iterdir()) / 1e6:.0f} MB')
    print(load())
    if lost:
        raise SystemExit(1)


if __name__ == '__main__':
    typer.run(main)

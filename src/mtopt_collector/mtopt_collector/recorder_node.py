"""Records every topic of an episode into one bag, from the first observation to the final one."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import Future as ThreadFuture
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from mtopt_collector.cell_node import CELL_FILE, DATA_FOLDER, DISCOVERY_TIMEOUT, CellNode
from mtopt_collector.episode_recorder import EpisodeRecorder, recorded_topics
from mtopt_collector.recording import Written
from mtopt_core.bag import partial_bags, salvage, set_aside
from mtopt_core.episode import EpisodeInfo, Termination
from mtopt_core.episode_bag import LATCHED_TOPICS, camera_topic, read_episode
from mtopt_core.errors import BagBusyError, BagError, BagUnreachableError, DiskFullError
from mtopt_core.messages import episode_info_from_message
from mtopt_core.paths import DataFolder
from mtopt_msgs import msg
from mtopt_msgs.srv import SetEpisode
from mtopt_node.conversions import episode_info_to_message
from mtopt_node.node import OK, WARN, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import EVENTS, LATCHED, RECORDING, RECORDING_KEPT

Result = TypeVar('Result')

MEGABYTE = 1_000_000
READABLE_TIMEOUT = 0.5
LOOK_PERIOD = 1.0  # s between looks at the room on the disk
# Of the room an episode needs, this much must be there before collecting goes on: no going back and forth.
ROOM_REGAINED = 1.25
CLOSE_TIMEOUT = 5.0


class RecorderNode(CellNode):
    """Writes bags on `~/set_episode`; callbacks never wait for the disk."""

    NAME = 'recorder'
    PARAMETERS = (
        CELL_FILE,
        DATA_FOLDER,
        Parameter('queue_megabytes', 64, 'MB of messages that may wait for the disk', minimum=1, maximum=4096),
        Parameter('minimum_free_megabytes', 200, 'MB of disk below which no episode is started', minimum=0),
        Parameter('final_timeout', 2.0, 's of wall time to wait for the final observation', minimum=0.0, maximum=60.0),
    )

    def __init__(self) -> None:
        super().__init__()
        self._folder = DataFolder(Path(self.value('data_folder'))).bags
        self._recorder = EpisodeRecorder(
            self._folder,
            self.robot,
            tuple(self.cell.cameras),
            self.cell.recording,
            self.value('queue_megabytes') * MEGABYTE,
        )
        self._closing: ThreadFuture[Written] | None = None
        self._changing = False
        self._lost = 0

    def configure(self) -> None:
        """Salvage what a crash left, then listen."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._salvage()
        kept = ('observation', 'action', 'step', *map(camera_topic, self.cell.cameras))
        qualities = {**dict.fromkeys(LATCHED_TOPICS, LATCHED), **dict.fromkeys(kept, RECORDING_KEPT)}
        self._heard = {
            name: self.create_subscription(
                _message_class(type_name),
                name,
                partial(self._take, name),
                qualities.get(name, RECORDING),
                raw=True,
            )
            for name, type_name in recorded_topics(self.cell.cameras).items()
        }
        self._episodes = self.create_publisher(msg.EpisodeInfo, 'episode', EVENTS)
        self.create_timer(LOOK_PERIOD, self._look_at_disk, clock=self.steady)
        # Ending an episode waits for messages that come by callbacks of the other group.
        self.create_service(SetEpisode, '~/set_episode', self._set_episode, callback_group=ReentrantCallbackGroup())

    def activate(self) -> None:
        """Say that it listens."""
        super().activate()
        self.report(OK, 'idle', messages=0, dropped=0)
        self._look_at_disk()

    def cleanup(self) -> None:
        """End a running episode as aborted, so that nothing recorded is lost."""
        if self._recorder.info is not None:
            self._closing = self._recorder.finish(_aborted(self._recorder.info, 'the recorder was stopped meanwhile'))
        if self._closing is not None:
            self._closing.result(CLOSE_TIMEOUT)

    def _look_at_disk(self) -> None:
        """Hold the collection before the disk is full, and let it go on once there is room again."""
        free = shutil.disk_usage(self._folder).free // MEGABYTE
        needed = self.value('minimum_free_megabytes')
        self.figures(free_megabytes=free)
        if free < needed:
            self.block(
                f'only {free} MB are free for bags in {self._folder}; make room: collecting goes on by itself above '
                f'{round(needed * ROOM_REGAINED)} MB'
            )
        elif self.blocked and free >= needed * ROOM_REGAINED:
            self._salvage()
            self.block('')

    def _salvage(self) -> None:
        for path in partial_bags(self._folder):
            try:
                bag = salvage(path)
                self.get_logger().warning(f'a crash cut off an episode; kept what was whole: {bag}')
            except (BagBusyError, BagUnreachableError, DiskFullError) as error:
                self.get_logger().warning(str(error))
            except BagError as error:
                self.get_logger().warning(f'{error}; now in {set_aside(path, str(error))}')
            else:
                self._set_aside_if_empty(bag)

    def _set_aside_if_empty(self, bag: Path) -> None:
        try:
            read_episode(bag)
        except BagError as error:
            self.get_logger().warning(f'{error}; now in {set_aside(bag, str(error))}')

    def _take(self, name: str, cdr: bytes) -> None:
        self._recorder.take(name, cdr)
        if self._recorder.dropped:
            self._report_loss(self._recorder.dropped)
        self.recheck()

    async def _set_episode(self, request: SetEpisode.Request, response: SetEpisode.Response) -> SetEpisode.Response:
        changing, self._changing = self._changing, True
        try:
            info = episode_info_from_message(request.info)
            if changing:
                raise BagError('another episode is just being started or ended; try again')
            if request.info.phase == msg.EpisodeInfo.PHASE_START:
                await self._start(info, response)
            else:
                await self._end(info, response)
        except DiskFullError as error:
            response.error_code, response.error_msg = SetEpisode.Response.DISK_FULL, str(error)
        except (BagError, ValueError) as error:
            response.error_code, response.error_msg = SetEpisode.Response.WRITE_FAILED, str(error)
        finally:
            self._changing = changing
        if response.error_code != SetEpisode.Response.NONE:
            self.report(WARN, response.error_msg)
        return response

    async def _start(self, info: EpisodeInfo, response: SetEpisode.Response) -> None:
        running = self._recorder.info
        if running is not None:
            response.error_code = SetEpisode.Response.ALREADY_RECORDING
            response.error_msg = (
                f'{running.episode_id} is recorded; end it first, or end whatever runs with an empty episode_id'
            )
            return
        if not self.active:
            raise BagError('the recorder is not active; activate it')
        self._look_at_disk()
        if self.blocked:
            raise DiskFullError(self.blocked)
        # Right after the graph was started some nodes may not have found this one yet; their messages would be lost.
        await self.until(self._hears_everyone, DISCOVERY_TIMEOUT)
        broken = await self._in_thread(self._recorder.start(info))
        if broken is not None:
            self._recorder.finish(info)
            raise broken
        self.report(OK, f'recording {info.episode_id}')
        self._episodes.publish(episode_info_to_message(info, msg.EpisodeInfo.PHASE_START, info.stamp))

    def _hears_everyone(self) -> bool:
        needed = ('observation', 'action', 'step', *map(camera_topic, self.cell.cameras))
        return all(self._heard[name].get_publisher_count() for name in needed)

    async def _end(self, info: EpisodeInfo, response: SetEpisode.Response) -> None:
        running = self._recorder.info
        if running is None or info.episode_id not in ('', running.episode_id):
            response.error_code = SetEpisode.Response.NOT_RECORDING
            response.error_msg = (
                f'episode {info.episode_id} is not recorded; '
                f'{running.episode_id + " is" if running else "the recorder may have been restarted"}'
            )
            return
        if not info.episode_id:
            info = _aborted(running, 'nobody ended it')
        if info.termination is Termination.ABORTED:
            await self.until(lambda: self._recorder.readable, READABLE_TIMEOUT)
        else:
            await self.until(partial(self._recorder.complete, info.steps), self.value('final_timeout'))
        ended = self._recorder.checked(info)
        self._closing = self._recorder.finish(ended)
        written = await self._in_thread(self._closing)
        self._lost += written.dropped
        self.figures(messages=written.messages, dropped=self._lost)
        response.messages, response.dropped = written.messages, written.dropped
        if written.path is None:
            raise written.error or BagError(f'the bag of {info.episode_id} was not finished')
        response.bag_path = str(written.path)
        response.error_msg = '' if ended is info else ended.message
        if written.dropped:
            self._report_loss(0)
        else:
            self.report(OK, 'idle')
        self._episodes.publish(episode_info_to_message(ended, msg.EpisodeInfo.PHASE_END, ended.stamp))

    def _report_loss(self, now: int) -> None:
        self.report(WARN, 'messages were lost; is the disk too slow for the images?', dropped=self._lost + now)

    async def _in_thread(self, running: ThreadFuture[Result]) -> Result:
        """Wait for the writer's thread while callbacks go on."""
        future, executor = Future(), self.executor
        assert executor is not None, 'called by the executor'

        def done(result: ThreadFuture[Result]) -> None:
            future.set_result(result.result())
            executor.wake()

        running.add_done_callback(done)
        return await future


def _aborted(info: EpisodeInfo, message: str) -> EpisodeInfo:
    return replace(info, termination=Termination.ABORTED, message=message)


def _message_class(type_name: str) -> Any:
    package, kind, name = type_name.split('/')
    return getattr(import_module(f'{package}.{kind}'), name)


def main() -> int:
    """Run the node."""
    return run(RecorderNode)


if __name__ == '__main__':
    sys.exit(main())

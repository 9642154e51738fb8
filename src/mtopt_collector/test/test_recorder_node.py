from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from sensor_msgs.msg import CompressedImage, JointState
from small_disk import small_disk

from mtopt_collector.recording import FLUSH_PERIOD
from mtopt_core.bag import BagReader, partial_bags
from mtopt_core.configuration import RecordingConfiguration
from mtopt_core.description.cell_table import ARM
from mtopt_core.episode import Action, EpisodeInfo, Observation, Outcome, Termination, Verdict
from mtopt_core.episode_bag import episode_ids, read_episode, read_outcomes
from mtopt_core.images import encode_jpeg
from mtopt_core.message_types import EPISODE_INFO, deserialize
from mtopt_msgs import msg
from mtopt_msgs.srv import SetEpisode
from mtopt_node.calls import found
from mtopt_node.conversions import (
    action_to_message,
    episode_info_to_message,
    header,
    observation_to_message,
    outcomes_to_message,
    time_of,
)
from mtopt_node.qos import COMMANDS, EVENTS, KEPT_COMMANDS, OBSERVATIONS

SECOND = 1_000_000_000
CAMERAS = ('main', 'wrist', 'side_left', 'side_right')
START, END = msg.EpisodeInfo.PHASE_START, msg.EpisodeInfo.PHASE_END
JPEG = encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), 90)


def info(episode_id: str = 'episode1', steps: int = 2, termination=Termination.STEP_LIMIT, **fields) -> EpisodeInfo:
    return EpisodeInfo(
        episode_id, 'robot1', 'lift-any', 'lift', 'scripted', steps=steps, termination=termination, **fields
    )


class Cell:
    """Plays the rest of the graph for a recorder."""

    def __init__(self, graph, data: Path, **parameters) -> None:
        self.graph, self.data = graph, data
        self.parameters = {'data_folder': str(data), 'minimum_free_megabytes': 0, **parameters}
        self.start()
        self.images = {
            name: graph.publisher(CompressedImage, f'cameras/{name}/compressed', OBSERVATIONS) for name in CAMERAS
        }
        self.joints = graph.publisher(JointState, 'joint_states', COMMANDS)
        self.observations = graph.publisher(msg.Observation, 'observation', OBSERVATIONS)
        self.actions = graph.publisher(msg.Action, 'action', KEPT_COMMANDS)
        self.steps = graph.publisher(msg.Step, 'step', KEPT_COMMANDS)
        self.truths = graph.publisher(msg.TaskOutcomes, 'true_outcomes', EVENTS)

    def start(self) -> None:
        self.graph.start('recorder', 'mtopt_collector.recorder_node', **self.parameters)

    def observe(self, stamp: int, cameras=CAMERAS, jpeg: bytes = JPEG) -> None:
        self.joints.publish(JointState(header=header(stamp), name=['joint1'], position=[0.5]))
        for name in cameras:
            self.images[name].publish(CompressedImage(header=header(stamp), format='jpeg', data=jpeg))
        observation = Observation(stamp, {}, np.array(ARM.home), np.array([0.5, -0.1, 0.2]), 0.3, False, 0.08, 0.2)
        names = [f'joint{number}' for number in range(1, 8)]
        self.observations.publish(observation_to_message(observation, dict.fromkeys(CAMERAS, stamp), names))

    def act(self, stamp: int, step: int, episode_id: str = 'episode1', answered: bool = True) -> None:
        action = Action(displacement=np.array([0.01, 0.02, -0.03]), yaw_change=0.1, close_gripper=step == 1)
        self.actions.publish(action_to_message(action, stamp, episode_id, step))
        end = time_of(stamp + SECOND)
        if answered:
            self.steps.publish(msg.Step(header=header(stamp), episode_id=episode_id, step=step, accepted=True, end=end))

    def set_episode(self, phase: int, episode: EpisodeInfo) -> SetEpisode.Response:
        request = SetEpisode.Request(info=episode_info_to_message(episode, phase, episode.stamp))
        return self.graph.call(SetEpisode, 'recorder/set_episode', request)

    def run(self, episode_id: str = 'episode1', jpeg: bytes = JPEG, start: int = SECOND) -> SetEpisode.Response:
        self.observe(start, jpeg=jpeg)
        assert self.set_episode(START, info(episode_id, stamp=start)).error_code == SetEpisode.Response.NONE
        for step in range(2):
            self.act(start + step * SECOND, step, episode_id)
            self.observe(start + (step + 1) * SECOND, jpeg=jpeg)
        return self.set_episode(END, info(episode_id))


def end_of(bag: Path) -> Any:
    """Return the bag's last message about its episode."""
    with BagReader(bag) as reader:
        *_, last = reader.messages(['/robot1/episode'])
    return deserialize(last.cdr, EPISODE_INFO)


@pytest.fixture
def cell(graph, tmp_path) -> Cell:
    return Cell(graph, tmp_path / 'data')


def test_an_episode_is_read_back_from_its_bag_with_the_observation_shown_before_it_was_announced(cell):
    response = cell.run()
    assert (response.error_code, response.error_msg, response.dropped) == (0, '', 0)
    assert response.bag_path == str(cell.data / 'bags' / 'episode1')
    episode = read_episode(Path(response.bag_path))
    assert [step.observation.stamp for step in episode.steps] == [SECOND, 2 * SECOND]
    assert episode.final.stamp == 3 * SECOND
    assert set(episode.final.images) == set(CAMERAS)
    assert episode.steps[0].observation.images['wrist'] == JPEG
    assert np.allclose(episode.steps[1].action.displacement, [0.01, 0.02, -0.03])
    assert [step.action.close_gripper for step in episode.steps] == [False, True]
    assert episode.info.termination is Termination.STEP_LIMIT
    assert episode.info.steps == 2


def test_the_mcap_library_reads_the_bag_too(cell):
    path = Path(cell.run().bag_path)
    with next(path.glob('*.mcap')).open('rb') as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        messages = [(channel.topic, ros) for _, channel, _, ros in reader.iter_decoded_messages()]
    phases = [ros.phase for topic, ros in messages if topic == '/robot1/episode']
    assert phases == [START, END]
    main = [bytes(ros.data) for topic, ros in messages if topic == '/robot1/cameras/main/compressed']
    assert main == [JPEG] * 3
    (q_value, _) = [ros.q_value for topic, ros in messages if topic == '/robot1/action']
    assert math.isnan(q_value)


def test_the_end_waits_for_the_final_observation_and_its_images(cell):
    cell.observe(SECOND)
    cell.set_episode(START, info())
    cell.act(SECOND, 0)
    ended = info(steps=1)
    request = SetEpisode.Request(info=episode_info_to_message(ended, END, ended.stamp))
    client = cell.graph.node.create_client(SetEpisode, 'recorder/set_episode')
    found(client.wait_for_service, 10)
    ending = client.call_async(request)
    cell.observe(2 * SECOND, cameras=CAMERAS[1:])
    with pytest.raises(AssertionError, match='no answer in time'):
        cell.graph.result(ending, timeout=0.3)
    cell.images['main'].publish(CompressedImage(header=header(2 * SECOND), format='jpeg', data=JPEG))
    assert cell.graph.result(ending).error_msg == ''
    assert read_episode(cell.data / 'bags' / 'episode1').final.stamp == 2 * SECOND


def test_an_episode_without_its_final_observation_is_recorded_as_aborted(graph, tmp_path):
    cell = Cell(graph, tmp_path / 'data', final_timeout=0.2)
    cell.observe(SECOND)
    cell.set_episode(START, info())
    cell.act(SECOND, 0)
    response = cell.set_episode(END, info(steps=1))
    assert 'final observation' in response.error_msg
    assert read_episode(Path(response.bag_path)).info.termination is Termination.ABORTED


def test_an_episode_with_an_action_nobody_answered_is_recorded_as_aborted(graph, tmp_path):
    cell = Cell(graph, tmp_path / 'data', final_timeout=0.5)
    cell.observe(SECOND)
    cell.set_episode(START, info(stamp=SECOND))
    cell.act(SECOND, 0)
    cell.observe(2 * SECOND)
    cell.act(2 * SECOND, 1, answered=False)
    response = cell.set_episode(END, info(steps=2))
    assert '1 of 2 steps' in response.error_msg
    assert read_episode(Path(response.bag_path)).info.termination is Termination.ABORTED


def test_the_true_outcomes_of_the_final_state_are_recorded_once_under_the_episode(cell):
    def grade(stamp: int, verdict: Verdict) -> None:
        outcomes = [Outcome('lift-any', verdict, float(verdict))]
        cell.truths.publish(outcomes_to_message(outcomes, stamp, '', 'simulator'))

    grade(SECOND, Verdict.FAILURE)
    cell.observe(SECOND)
    cell.set_episode(START, info(simulated=True, stamp=SECOND))
    cell.act(SECOND, 0)
    cell.observe(2 * SECOND)
    grade(2 * SECOND, Verdict.SUCCESS)
    path = Path(cell.set_episode(END, info(steps=1, simulated=True)).bag_path)
    (grading,) = read_outcomes(path)
    assert (grading.episode_id, grading.source) == ('episode1', 'simulator')
    assert grading.outcomes == [Outcome('lift-any', Verdict.SUCCESS, 1.0)]


def test_a_second_start_is_refused_and_an_empty_id_ends_whatever_runs(cell):
    cell.observe(SECOND)
    cell.set_episode(START, info())
    refused = cell.set_episode(START, info('episode2'))
    assert refused.error_code == SetEpisode.Response.ALREADY_RECORDING
    assert 'episode1' in refused.error_msg
    assert cell.set_episode(END, info('')).error_code == SetEpisode.Response.NONE
    assert end_of(cell.data / 'bags' / 'episode1').termination == Termination.ABORTED
    assert cell.set_episode(END, info('episode2')).error_code == SetEpisode.Response.NOT_RECORDING


def test_a_recorder_told_to_stop_keeps_the_running_episode_as_aborted(cell):
    cell.observe(SECOND)
    cell.set_episode(START, info(stamp=SECOND))
    assert cell.graph.stop('recorder') == 0
    end = end_of(cell.data / 'bags' / 'episode1')
    assert end.termination == Termination.ABORTED
    assert 'stopped' in end.message


def test_what_a_killed_recorder_had_written_is_salvaged_by_the_next_one(cell):
    jpeg = encode_jpeg(np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8), 95)
    cell.observe(SECOND)
    cell.set_episode(START, info(stamp=SECOND))
    for step in range(8):
        cell.act((step + 1) * SECOND, step)
        cell.observe((step + 2) * SECOND, jpeg=jpeg)
    (partial,) = partial_bags(cell.data / 'bags')
    # The initial observation, and seven of the eight others with their four images.
    cell.graph.wait_until(lambda: sum(file.stat().st_size for file in partial.glob('*.mcap')) > 7 * 4 * len(jpeg))
    cell.graph.kill('recorder')
    assert partial.exists()
    cell.start()
    cell.graph.wait_until(lambda: 'kept what was whole' in cell.graph.log('recorder'))
    episode = read_episode(cell.data / 'bags' / 'episode1')
    assert episode.info.task == 'lift-any'
    assert episode.info.termination is Termination.ABORTED
    assert len(episode.steps) >= 5
    assert not partial.exists()


def test_a_full_disk_is_reported_and_recording_goes_on_once_there_is_room(graph, tmp_path):
    with small_disk(tmp_path / 'disk', '1m', held=True) as disk:
        (disk / 'ballast').write_bytes(bytes(700_000))
        cell = Cell(graph, disk)
        noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
        response = cell.run(jpeg=encode_jpeg(noise, 95))
        assert response.error_code == SetEpisode.Response.DISK_FULL
        assert 'No space left' in response.error_msg
        assert response.dropped > 0
        (disk / 'ballast').unlink()
        response = cell.run('episode2', start=9 * SECOND)
        assert (response.error_code, response.error_msg) == (0, '')
        assert len(read_episode(Path(response.bag_path)).steps) == 2


def test_an_episode_much_smaller_than_a_chunk_survives_a_killed_recorder(cell):
    cell.observe(SECOND)
    cell.set_episode(START, info(stamp=SECOND))
    cell.act(SECOND, 0)
    cell.observe(2 * SECOND)
    bags = cell.data / 'bags'
    time.sleep(3 * FLUSH_PERIOD)
    (partial,) = partial_bags(bags)
    assert next(partial.glob('*.mcap')).stat().st_size < RecordingConfiguration().chunk_size
    cell.graph.kill('recorder')
    cell.start()
    cell.graph.wait_until(lambda: 'kept what was whole' in cell.graph.log('recorder'))
    episode = read_episode(bags / 'episode1')
    assert (len(episode.steps), episode.final.stamp) == (1, 2 * SECOND)
    assert episode.info.termination is Termination.ABORTED
    assert episode.info.message == 'cut off before its end'


def test_an_episode_killed_before_anything_was_seen_is_set_aside(cell):
    cell.set_episode(START, info(stamp=SECOND))
    time.sleep(3 * FLUSH_PERIOD)
    cell.graph.kill('recorder')
    cell.start()
    cell.graph.wait_until(lambda: 'no observation was recorded' in cell.graph.log('recorder'))
    assert not episode_ids(cell.data / 'bags')
    assert (cell.data / 'set_aside' / 'episode1' / 'reason.txt').exists()


def blocked(diagnostics: list[DiagnosticArray]) -> str:
    """Return why the recorder says that nothing can be collected."""
    values = [pair.value for array in diagnostics for pair in array.status[0].values if pair.key == 'blocked']
    return values[-1] if values else ''


def test_a_disk_getting_full_holds_the_collection_and_lets_it_go_on_once_there_is_room(graph, tmp_path):
    with small_disk(tmp_path / 'disk', '30m', held=True) as disk:
        cell = Cell(graph, disk, minimum_free_megabytes=10)
        diagnostics = graph.listen(DiagnosticArray, '/diagnostics', EVENTS)
        assert cell.run().error_code == SetEpisode.Response.NONE
        (disk / 'ballast').write_bytes(bytes(22_000_000))
        graph.wait_until(lambda: 'make room' in blocked(diagnostics))
        response = cell.set_episode(START, info('episode2'))
        assert response.error_code == SetEpisode.Response.DISK_FULL
        assert 'MB are free' in response.error_msg
        (disk / 'ballast').unlink()
        graph.wait_until(lambda: not blocked(diagnostics))
        assert cell.run('episode3', start=9 * SECOND).error_code == SetEpisode.Response.NONE


def test_what_a_full_disk_cut_off_is_salvaged_once_there_is_room(graph, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    with small_disk(tmp_path / 'disk', '4m', held=True) as disk:
        cell = Cell(graph, disk, minimum_free_megabytes=1)
        cell.observe(SECOND, jpeg=encode_jpeg(noise, 95))
        cell.set_episode(START, info(stamp=SECOND))
        cell.act(SECOND, 0)
        cell.observe(2 * SECOND, jpeg=encode_jpeg(noise, 95))
        time.sleep(3 * FLUSH_PERIOD)
        with contextlib.suppress(OSError), (disk / 'ballast').open('wb') as ballast:
            while True:
                ballast.write(bytes(4096))
                ballast.flush()
        cell.act(2 * SECOND, 1)
        cell.observe(3 * SECOND, jpeg=encode_jpeg(noise, 95))
        assert cell.set_episode(END, info(steps=2)).error_code == SetEpisode.Response.DISK_FULL
        time.sleep(1.5)
        (disk / 'ballast').unlink()
        graph.wait_until(lambda: episode_ids(disk / 'bags') == ['episode1'])
        assert len(read_episode(disk / 'bags' / 'episode1').steps) >= 1


def test_an_episode_is_not_started_without_room_for_it(graph, tmp_path):
    free = os.statvfs(tmp_path)
    cell = Cell(graph, tmp_path / 'data', minimum_free_megabytes=free.f_bavail * free.f_frsize // 10**6 + 10**6)
    response = cell.set_episode(START, info())
    assert response.error_code == SetEpisode.Response.DISK_FULL
    assert 'MB are free' in response.error_msg

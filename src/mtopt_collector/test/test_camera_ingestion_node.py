from __future__ import annotations

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState

from mtopt_collector.robot import arm_kinematics
from mtopt_core.description.cell_table import ARM
from mtopt_core.images import decode_jpeg, encode_jpeg
from mtopt_core.messages import stamp_of
from mtopt_msgs import msg
from mtopt_node.conversions import header
from mtopt_node.qos import COMMANDS, EVENTS, IMAGES, OBSERVATIONS

SECOND = 1_000_000_000
CAMERAS = ('main', 'wrist', 'side_left', 'side_right')
RGB = (np.linspace(0.5, 1.0, 128)[:, None, None] * np.array([220, 130, 20]) * np.ones((1, 128, 1))).astype(np.uint8)
NAMES = [*(f'joint{number}' for number in range(1, 8)), 'finger_joint']
CELL_FILE = """
cameras:
  main: {topic: camera/main/image}
  wrist: {topic: camera/wrist/image, compressed: true}
recording: {image_size: 64}
"""


def image(stamp: int, encoding: str = 'rgb8') -> Image:
    message = Image(header=header(stamp), height=128, width=128, encoding=encoding, step=384)
    message.data = RGB.tobytes()
    return message


def joint_state(stamp: int, finger: float = 0.04) -> JointState:
    return JointState(header=header(stamp), name=NAMES, position=[*ARM.home, finger])


class Cell:
    """Plays the drivers of a cell and hears what the ingestion makes of them."""

    def __init__(self, graph, cameras=CAMERAS, kinds=None, **parameters) -> None:
        self.graph = graph
        graph.start('ingestion', 'mtopt_collector.camera_ingestion_node', **parameters)
        self.observations = graph.listen(msg.Observation, 'observation', OBSERVATIONS)
        self.jpegs = {
            name: graph.listen(CompressedImage, f'cameras/{name}/compressed', OBSERVATIONS) for name in cameras
        }
        self.diagnostics = graph.listen(DiagnosticArray, '/diagnostics', EVENTS)
        kinds = kinds or {}
        self.images = {
            name: graph.publisher(kinds.get(name, Image), f'camera/{name}/image', IMAGES) for name in cameras
        }
        self.joints = graph.publisher(JointState, 'joint_states', COMMANDS)
        graph.connect()

    def show(self, stamp: int, **encodings: str) -> None:
        self.joints.publish(joint_state(stamp))
        for name, publisher in self.images.items():
            publisher.publish(image(stamp, encodings.get(name, 'rgb8')))

    def says(self, text: str) -> bool:
        return any(text in status.message for array in self.diagnostics for status in array.status)


def test_every_paired_set_becomes_one_observation_after_its_jpegs(graph):
    cell = Cell(graph)
    for step in range(1, 6):
        cell.show(step * SECOND)
        graph.wait_until(lambda step=step: len(cell.observations) == step)
    observation = cell.observations[-1]
    assert stamp_of(observation.header.stamp) == 5 * SECOND
    assert observation.cameras == list(CAMERAS)
    assert {stamp_of(stamp) for stamp in observation.image_stamps} == {5 * SECOND}
    position, _ = arm_kinematics().forward(np.array(ARM.home))
    assert np.allclose([observation.tip.position.x, observation.tip.position.y, observation.tip.position.z], position)
    assert np.isclose(observation.height_to_bottom, position[2])
    assert not observation.gripper_closed
    graph.wait_until(lambda: all(len(messages) == 5 for messages in cell.jpegs.values()))
    shown = decode_jpeg(bytes(cell.jpegs['wrist'][0].data))
    assert shown.shape == (128, 128, 3)
    assert np.abs(shown.astype(int) - RGB).max() <= 3


def test_stale_and_repeated_images_make_no_observation(graph):
    cell = Cell(graph)
    cell.show(3 * SECOND)
    graph.wait_until(lambda: len(cell.observations) == 1)
    cell.show(3 * SECOND)
    cell.show(3 * SECOND - 1)
    cell.show(4 * SECOND)
    graph.wait_until(lambda: len(cell.observations) == 2)
    assert [stamp_of(one.header.stamp) for one in cell.observations] == [3 * SECOND, 4 * SECOND]


def test_an_unusable_encoding_is_reported_with_topic_and_way_out_and_the_node_goes_on(graph):
    cell = Cell(graph)
    cell.show(SECOND, wrist='16UC7')
    graph.wait_until(lambda: cell.says('/robot1/camera/wrist/image'))
    assert cell.says("'16UC7' is not supported")
    assert graph.log('ingestion').count('16UC7') == 1
    cell.show(2 * SECOND)
    graph.wait_until(lambda: len(cell.observations) == 1)


def test_a_topic_that_never_arrives_is_named(graph):
    cell = Cell(graph, cameras=CAMERAS[:3], silence=0.5)
    cell.show(SECOND)
    graph.wait_until(lambda: cell.says('nobody publishes /robot1/camera/side_right/image (sensor_msgs/msg/Image)'))
    assert not cell.observations


def test_a_camera_that_falls_silent_while_the_others_go_on_is_named(graph):
    cell = Cell(graph, silence=0.5)
    cell.show(SECOND)
    graph.wait_until(lambda: cell.observations)
    del cell.images['main']
    cell.show(2 * SECOND)
    graph.wait_until(lambda: cell.says('nothing comes on /robot1/camera/main/image (sensor_msgs/msg/Image)'))


def test_best_effort_images_are_named_as_the_reason(graph):
    cell = Cell(graph, cameras=CAMERAS[:3], silence=0.5)
    graph.node.create_publisher(Image, 'camera/side_right/image', qos_profile_sensor_data)
    graph.wait_until(lambda: cell.says('/robot1/camera/side_right/image is published best effort'))


def test_a_camera_of_another_type_is_told_from_a_silent_one(graph, tmp_path):
    (tmp_path / 'cell.yaml').write_text(CELL_FILE)
    cell = Cell(graph, ('main',), cell_file=str(tmp_path / 'cell.yaml'), silence=0.5)
    graph.node.create_publisher(Image, 'camera/wrist/image', IMAGES)
    expected = '/robot1/camera/wrist/image is sensor_msgs/msg/Image, expected sensor_msgs/msg/CompressedImage'
    graph.wait_until(lambda: cell.says(f'{expected}; set `compressed: false` at cameras.wrist'))


@pytest.mark.parametrize(('size', 'same'), [(64, True), (128, False)])
def test_a_jpeg_camera_is_recorded_as_it_came_unless_it_is_too_large(graph, tmp_path, size, same):
    (tmp_path / 'cell.yaml').write_text(CELL_FILE)
    cell = Cell(graph, ('main', 'wrist'), {'wrist': CompressedImage}, cell_file=str(tmp_path / 'cell.yaml'))
    jpeg = encode_jpeg(RGB[:size, :size], 80)
    cell.joints.publish(joint_state(SECOND))
    cell.images['main'].publish(image(SECOND))
    cell.images['wrist'].publish(CompressedImage(header=header(SECOND), format='jpeg', data=jpeg))
    graph.wait_until(lambda: cell.observations)
    recorded = bytes(graph.wait_until(lambda: cell.jpegs['wrist'])[0].data)
    assert (recorded == jpeg) is same
    assert decode_jpeg(recorded).shape == (64, 64, 3)

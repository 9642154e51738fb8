"""Pairs camera images with the joint state, encodes each image once, and publishes observations."""

from __future__ import annotations

import sys
from collections import deque
from functools import partial
from statistics import median
from typing import NamedTuple

from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState

from mtopt_collector.blindness import BlindnessWatch
from mtopt_collector.cell_node import CELL_FILE, CellNode
from mtopt_collector.joint_reading import JointReading, JointStateError
from mtopt_collector.pairing import JOINT_STATE, PairedSet, Pairing
from mtopt_collector.recorded_image import recorded_from_jpeg, recorded_jpeg
from mtopt_collector.robot import arm_kinematics, joint_reader
from mtopt_core.episode import Observation
from mtopt_core.episode_bag import camera_topic
from mtopt_core.errors import ImageError
from mtopt_core.images import to_rgb
from mtopt_core.messages import stamp_of
from mtopt_msgs import msg
from mtopt_node.conversions import observation_to_message
from mtopt_node.node import ERROR, OK, WARN, run
from mtopt_node.parameters import Parameter
from mtopt_node.qos import COMMANDS, IMAGES, OBSERVATIONS

SECOND = 1_000_000_000
WATCH_PERIOD = 1.0
AGES_KEPT = 100
TRY_AGAIN = 2.0  # s after the last picture of a blind camera until nothing is known of it any more
TYPE_NAMES = {Image: 'sensor_msgs/msg/Image', CompressedImage: 'sensor_msgs/msg/CompressedImage'}


class Arrived(NamedTuple):
    """An image message and the steady time it came at, s."""

    message: Image | CompressedImage
    at: float


class CameraIngestionNode(CellNode):
    """Turns the drivers' topics into `observation` and `cameras/<name>/compressed`."""

    NAME = 'camera_ingestion'
    PARAMETERS = (
        CELL_FILE,
        Parameter('tolerance', 0.05, 's between the leading image and every other piece', minimum=0.0, maximum=1.0),
        Parameter('max_age', 0.5, 's by which a piece may be older than the newest joint state', minimum=0.01),
        Parameter('frozen_after', 0.1, 'm that the arm moves while a camera shows the same picture', minimum=0.01),
        Parameter('silence', 5.0, 's of wall time after which a silent topic is reported', minimum=0.1),
    )

    def configure(self) -> None:
        """Subscribe to every camera and the joint states."""
        self._pairing = Pairing(
            tuple(self.cell.cameras),
            tolerance=round(self.value('tolerance') * SECOND),
            max_age=round(self.value('max_age') * SECOND),
        )
        self._kinematics = arm_kinematics()
        self._reader = joint_reader(self._kinematics)
        self._encoded: dict[str, int] = {}
        self._blindness = BlindnessWatch(self.value('frozen_after'))
        self._blind_at = 0.0
        self._ages: deque[float] = deque(maxlen=AGES_KEPT)
        self._observations = 0
        self._well_at = self.now
        self._images = {
            camera: self.create_publisher(CompressedImage, camera_topic(camera), OBSERVATIONS)
            for camera in self.cell.cameras
        }
        self._observed = self.create_publisher(msg.Observation, 'observation', OBSERVATIONS)
        self._expected: dict[str, tuple[str, str, str]] = {
            JOINT_STATE: ('joint_states', 'sensor_msgs/msg/JointState', 'the arm'),
        }
        for camera, configuration in self.cell.cameras.items():
            kind = CompressedImage if configuration.compressed else Image
            self._expected[camera] = (configuration.topic, TYPE_NAMES[kind], f'camera {camera}')
            self.create_subscription(kind, configuration.topic, partial(self._take_image, camera), IMAGES)
        self.create_subscription(JointState, 'joint_states', self._take_joint_state, COMMANDS)
        self.create_timer(WATCH_PERIOD, self._watch, clock=self.steady)

    def _take_image(self, camera: str, message: Image | CompressedImage) -> None:
        stamp = stamp_of(message.header.stamp)
        for paired in self._pairing.add_image(camera, stamp, Arrived(message, self.now)):
            self._publish(paired)

    def _take_joint_state(self, message: JointState) -> None:
        try:
            reading = self._reader.read(stamp_of(message.header.stamp), message.name, message.position)
        except JointStateError as error:
            self.report(ERROR, f'{self.resolve_topic_name("joint_states")}: {error}')
            return
        for paired in self._pairing.add_joint_state(reading.stamp, reading):
            self._publish(paired)

    def _publish(self, paired: PairedSet) -> None:
        if not self.active:
            return
        try:
            jpegs = {
                camera: self._jpeg(camera, image.item.message)
                for camera, image in paired.images.items()
                if self._encoded.get(camera) != image.stamp
            }
        except ImageError as error:
            self.report(ERROR, str(error))
            return
        reading: JointReading = paired.joint_state.item
        position, _ = self._kinematics.forward(reading.positions)
        blind = self._blindness.look(jpegs, position)
        self.block(blind)
        if blind:
            # Nothing is shown of it: whoever drives the arm must not act on it.
            self._blind_at = self.now
            return
        for camera, jpeg in jpegs.items():
            header = paired.images[camera].item.message.header
            self._images[camera].publish(CompressedImage(header=header, format='jpeg', data=jpeg))
            self._encoded[camera] = paired.images[camera].stamp
        observation = Observation(
            stamp=paired.stamp,
            images={},
            joint_positions=reading.positions,
            tip_position=position,
            yaw=self._kinematics.yaw(reading.positions),
            gripper_closed=reading.gripper_closed,
            gripper_width=reading.gripper_width,
            height_to_bottom=float(position[2]),
        )
        stamps = {camera: image.stamp for camera, image in paired.images.items()}
        self._observed.publish(observation_to_message(observation, stamps, self._kinematics.joint_names))
        self._ages.append(self.now - min(image.item.at for image in paired.images.values()))
        self._observations += 1
        self.report(OK, 'running')

    def _jpeg(self, camera: str, message: Image | CompressedImage) -> bytes:
        recording = self.cell.recording
        try:
            if isinstance(message, CompressedImage):
                return recorded_from_jpeg(bytes(message.data), recording.image_size, recording.jpeg_quality)
            rgb = to_rgb(message.encoding, message.height, message.width, message.step, message.data)
            return recorded_jpeg(rgb, recording.image_size, recording.jpeg_quality)
        except ImageError as error:
            raise ImageError(
                f'camera {camera} on {self.resolve_topic_name(self._expected[camera][0])}: {error}'
            ) from None

    def _watch(self) -> None:
        self.figures(
            observations=self._observations,
            image_age=round(median(self._ages), 5) if self._ages else 'none',
            **{f'refused_{reason}': count for reason, count in self._pairing.refused.items()},
        )
        lagging = self._pairing.lagging(round(self.value('silence') * SECOND))
        if self.blocked and self.now - self._blind_at > TRY_AGAIN:
            # A lock-step simulator shows the cell again only when it is told to do something.
            self.block('')
        troubles = [trouble for stream in self._expected if (trouble := self._trouble(stream, stream in lagging))]
        if not troubles:
            self._well_at = self.now
        elif self.now - self._well_at > self.value('silence'):
            self.report(WARN, '; '.join(troubles))

    def _trouble(self, stream: str, lagging: bool) -> str:
        """Return what is the matter with a topic and the way out, empty for nothing."""
        name, expected, source = self._expected[stream]
        topic = self.resolve_topic_name(name)
        publishers = self.get_publishers_info_by_topic(topic)
        where = 'its remapping' if stream == JOINT_STATE else f'cameras.{stream} in the cell file'
        if not publishers:
            return f'{source}: nobody publishes {topic} ({expected}); start its driver, or correct {where}'
        found = publishers[0]
        if found.topic_type != expected:
            compressed = {TYPE_NAMES[CompressedImage]: 'true', TYPE_NAMES[Image]: 'false'}.get(found.topic_type)
            remedy = f'set `compressed: {compressed}` at' if compressed and stream != JOINT_STATE else 'correct'
            return f'{source}: {topic} is {found.topic_type}, expected {expected}; {remedy} {where}'
        if found.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT:
            return f'{source}: {topic} is published best effort, which loses images; set its driver to reliable'
        if lagging:
            return f'{source}: nothing comes on {topic} ({expected}) while others go on; check its driver and clock'
        return ''


def main() -> int:
    """Run the node."""
    return run(CameraIngestionNode)


if __name__ == '__main__':
    sys.exit(main())

"""The cell's world in a running Gazebo: step it, command joints, move and paint things, and see what there is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtopt_core.description.parts import CellTable
from mtopt_sim.errors import SimulationError
from mtopt_sim.gazebo.classic_transport import ClassicTransport, Feed
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.installation import find_installation
from mtopt_sim.gazebo.joint_commands import Gain, JointCommands
from mtopt_sim.gazebo.messages import Messages
from mtopt_sim.gazebo.models import LINK, PLATE, hinge_names, joint_zeros
from mtopt_sim.gazebo.places import Places, nanoseconds
from mtopt_sim.gazebo.sdf import rpy
from mtopt_sim.gazebo.server import Server
from mtopt_sim.gazebo.world import LAMP, TIME_STEP_NS, WORLD, world_file, world_files

# s of wall time, on a machine that is busy with other things.
START_TIMEOUT, TOPIC_TIMEOUT, STEP_TIMEOUT = 180.0, 30.0, 60.0
CONTACT_TIMEOUT, CONTACT_AGE = 0.03, 200_000_000
"""s of wall time, and ns of simulated time."""
PLACE_PAUSE = 0.01
"""s of wall time that poses get to arrive: they travel apart from the order to step."""

_RGB8 = 3


class Simulation:
    """A server that runs the world, and this process' connections to it.

    Args:
        table: The cell.
        image_size: Side of the square images, px.
        cameras: Cameras that are listened to; each renders at every multiple of `period`.
        period: Between two images of a camera, s.
        files: What `world_files` writes for a world that is run instead of this cell's.
        display: Whether cameras can render.

    Raises:
        SimulationError: Gazebo is not there, or the world lacks what the cell needs.
    """

    def __init__(
        self,
        table: CellTable,
        image_size: int,
        cameras: Sequence[str],
        period: float,
        files: Mapping[str, str] | None = None,
        display: bool = True,
    ) -> None:
        self._arm = table.arm.name
        self._joints = {self._arm: tuple(joint_zeros(table.arm))}
        if table.cloth is not None:
            self._joints[table.cloth.name] = tuple(hinge_names(table.cloth))
        self._image_size = image_size
        self._commands: dict[str, JointCommands] = {}
        self._transport: ClassicTransport | None = None
        self._server: Server | None = None
        try:
            self._open(table, cameras, period, files or world_files(table, image_size, period), display)
        except BaseException:
            self.close()
            raise

    def _open(
        self, table: CellTable, cameras: Sequence[str], period: float, files: Mapping[str, str], display: bool
    ) -> None:
        installation = find_installation()
        self._messages = Messages(installation.classic_messages, 'gazebo.msgs')
        ignition = Messages(installation.ignition_messages, 'ignition.msgs')
        self._server = Server(installation, files, world_file(table), display)
        self._transport = transport = ClassicTransport(self._server, self._messages, WORLD, START_TIMEOUT)
        for model, joints in self._joints.items():
            self._commands[model] = JointCommands(self._server, ignition, model, joints)
        self._control = transport.advertise('world_control', 'WorldControl')
        self._move = transport.advertise('pose/modify', 'Pose')
        self._paint = transport.advertise('visual', 'Visual')
        self._light = transport.advertise('light/modify', 'Light')
        standing = [one.name for one in table.cameras if one.link == table.arm.base]
        self._places = Places(transport, self._messages, [self._arm, PLATE, *table.object_names, *standing])
        self._contacts = transport.feed('physics/contacts', 'Contacts')
        mounts = {one.name: f'{self._arm}/{one.link}' for one in table.cameras if one.link != table.arm.base}
        self._images: dict[str, Feed] = {
            name: transport.feed(f'{mounts.get(name, f"{name}/{LINK}")}/{name}/image', 'ImageStamped')
            for name in cameras
        }
        self._await_topics()
        self._see_first_images(round(period * 1e9) // TIME_STEP_NS)

    def _see_first_images(self, steps: int) -> None:
        """Step until the cameras must have rendered: without a display they are offered all the same, but dark."""
        self.step(steps)
        self._open_transport.wait_for(
            lambda: all(feed.received for feed in self._images.values()),
            time.monotonic() + TOPIC_TIMEOUT,
            'cameras are off; is there a display and OpenGL for the server? They should show something',
            lambda: f'{", ".join(name for name, feed in self._images.items() if not feed.received)} are dark',
        )

    def _await_topics(self) -> None:
        """Wait until the server listens to what is told and tells what is asked for."""
        deadline = time.monotonic() + START_TIMEOUT
        transport = self._open_transport
        topics = ('world_control', 'pose/modify', 'light/modify')
        transport.wait_for(
            lambda: all(map(transport.subscribed, topics)) and self._places.published and self._contacts.published,
            deadline,
            'the server does not offer the topics of Gazebo 11',
        )
        deadline = time.monotonic() + TOPIC_TIMEOUT
        for model, commands in self._commands.items():
            while not commands.connected(0.05):
                if time.monotonic() > deadline:
                    raise TransportError(f'the world has no model {model!r} with joints; is it the one mtopt wrote?')
                transport.pump(0.05)

    @property
    def time(self) -> int:
        """Simulated time, ns."""
        return self._places.time

    @property
    def _open_transport(self) -> ClassicTransport:
        if self._transport is None:
            raise TransportError('the connection to Gazebo is closed')
        return self._transport

    def close(self) -> None:
        """End the server."""
        for part in (*self._commands.values(), self._transport, self._server):
            if part is not None:
                part.close()
        self._commands = {}
        self._transport = self._server = None

    def check(self) -> None:
        """See that the server runs.

        Raises:
            TransportError: It does not.
        """
        if self._server is None:
            raise TransportError('the connection to Gazebo is closed')
        self._server.check()

    def step(self, count: int) -> None:
        """Let so many steps of the physics pass.

        Raises:
            TransportError: The server does not carry them out.
        """
        self._control(self._messages.new('WorldControl', multi_step=count))
        self._await_steps(count)

    def _await_steps(self, count: int) -> None:
        target = self.time + count * TIME_STEP_NS
        self._open_transport.wait_for(
            lambda: self._places.follow() >= target,
            time.monotonic() + STEP_TIMEOUT,
            f'{count} steps were not carried out within {STEP_TIMEOUT:g} s',
            lambda: f'the clock stands at {self.time} ns instead of {target} ns',
        )

    def reset(self) -> None:
        """Put every model where the world has it, at rest, in a step of the physics that Gazebo makes for it by itself.

        Raises:
            TransportError: The server does not carry it out.
        """
        control = self._messages.new('WorldControl')
        control.reset.model_only = True
        self._control(control)
        self._await_steps(1)

    def command(
        self, targets: Mapping[str, float], gains: Mapping[str, Gain] | None = None, model: str | None = None
    ) -> None:
        """Draw joints to positions from the next step on; `JointCommands.give` says how, and what it raises.

        Args:
            targets: rad or m, by joint.
            gains: By joint; none leaves them as they are.
            model: Whose joints; none: the arm's.
        """
        self._commands[model or self._arm].give(targets, gains, STEP_TIMEOUT)

    def place(self, poses: Mapping[str, np.ndarray]) -> None:
        """Put models at poses `(4, 4)` from the next step on; velocities stay as they are."""
        for name, pose in poses.items():
            message = self._messages.new('Pose', name=name)
            _fill_pose(message, pose)
            self._move(message)
        time.sleep(PLACE_PAUSE)

    def paint(self, link: str, number: int, colour: Sequence[float]) -> None:
        """Give the n-th shape of a link another colour."""
        message = self._messages.new('Visual', name=f'{link}::visual_{number}', parent_name=link)
        for part in (message.material.ambient, message.material.diffuse):
            part.r, part.g, part.b, part.a = (*colour, 1.0)
        self._paint(message)

    def light(self, direction: np.ndarray, brightness: float) -> None:
        """Turn and dim the lamp."""
        message = self._messages.new('Light', name=LAMP, type=3)
        message.direction.x, message.direction.y, message.direction.z = direction.tolist()
        colour = message.diffuse
        colour.r = colour.g = colour.b = brightness
        colour.a = 1.0
        self._light(message)

    def pose(self, name: str, before: bool = False) -> np.ndarray | None:
        """Return where something is, or was an `interval` ago; `Places.pose` says more."""
        return self._places.pose(name, before)

    @property
    def interval(self) -> float:
        """Time between the last two places that are known, s."""
        return self._places.interval

    def image(self, camera: str) -> np.ndarray:
        """Return what a camera sees now, `(S, S, 3) uint8`; the clock must be at a multiple of the cameras' period.

        Raises:
            SimulationError: The camera is not listened to, or its image does not come.
        """
        if camera not in self._images:
            raise SimulationError(f'camera {camera!r} is not listened to; known: {", ".join(self._images)}')
        message = self._message_of_now(self._images[camera], 'ImageStamped', f'camera {camera} shows nothing')
        image = message.image
        if image.pixel_format != _RGB8 or (image.width, image.height) != (self._image_size, self._image_size):
            raise SimulationError(
                f'camera {camera} shows {image.width} x {image.height} px in format {image.pixel_format}; '
                f'{self._image_size} px in RGB were asked for'
            )
        return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)

    def contacts(self) -> set[tuple[str, str]]:
        """Return the pairs of links that touch now, each as `model::link`, the lesser name first.

        The last message of a series is sometimes not sent before the next one is due, so one that is a little older
        will do.

        Raises:
            TransportError: There is none of the last fifth of a simulated second.
        """
        with contextlib.suppress(TransportError):
            self._open_transport.wait_for(
                lambda: self._newest(self._contacts, 'Contacts', self.time) is not None,
                time.monotonic() + CONTACT_TIMEOUT,
                'contacts are late',
            )
        message = self._newest(self._contacts, 'Contacts', self.time - CONTACT_AGE)
        if message is None:
            raise TransportError('Gazebo does not tell what touches what')
        pairs = ((contact.collision1, contact.collision2) for contact in message.contact)
        return {tuple(sorted(name.rpartition('::')[0] for name in pair)) for pair in pairs}  # type: ignore[misc]

    def _message_of_now(self, feed: Feed, kind: str, complaint: str) -> Any:
        def newest() -> str:
            message = self._newest(feed, kind, 0)
            return 'nothing came at all' if message is None else f'the newest is of {nanoseconds(message.time)} ns'

        self._open_transport.wait_for(
            lambda: self._newest(feed, kind, self.time) is not None,
            time.monotonic() + STEP_TIMEOUT,
            f'{complaint} at {self.time} ns',
            newest,
        )
        return self._newest(feed, kind, self.time)

    def _newest(self, feed: Feed, kind: str, earliest: int) -> Any:
        """Return the newest message of a feed, none if it is older than `earliest`, ns."""
        while len(feed.received) > 1:
            feed.received.popleft()
        if not feed.received:
            return None
        message = self._messages.parse(kind, feed.received[-1])
        return message if nanoseconds(message.time) >= earliest else None


def _fill_pose(message: Any, pose: np.ndarray) -> None:
    message.position.x, message.position.y, message.position.z = pose[:3, 3].tolist()
    roll, pitch, yaw = rpy(pose[:3, :3]) / 2
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    orientation = message.orientation
    orientation.w = float(cr * cp * cy + sr * sp * sy)
    orientation.x = float(sr * cp * cy - cr * sp * sy)
    orientation.y = float(cr * sp * cy + sr * cp * sy)
    orientation.z = float(cr * cp * sy - sr * sp * cy)

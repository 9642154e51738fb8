"""The cell in Gazebo 11: the same arm, objects and cameras as in MuJoCo, for the same `Cell`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.parts import CellTable, Shape
from mtopt_core.description.surroundings import bin_shapes, plate_shapes, table_shape, tinted
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_core.trajectory import Trajectory
from mtopt_core.viewpoint import Viewpoint
from mtopt_sim.cloth import FREE, ClothPlacement, covers, hanging_placement
from mtopt_sim.errors import DivergedError, SimulationError
from mtopt_sim.gazebo.arm_joints import ArmJoints
from mtopt_sim.gazebo.cloth_hinges import ClothHinges
from mtopt_sim.gazebo.errors import TransportError
from mtopt_sim.gazebo.models import DAMPING, LINK, PLATE, STIFFNESS, SURROUNDINGS, parked
from mtopt_sim.gazebo.poses import from_quaternion, pose_of, rotation_by
from mtopt_sim.gazebo.sdf import camera_pose, gazebo_axes, table_axes
from mtopt_sim.gazebo.simulation import Simulation
from mtopt_sim.gazebo.world import TIME_STEP_NS
from mtopt_sim.geometry import between_pads, lowest_point, mass_properties
from mtopt_sim.grasping import Body
from mtopt_sim.scene import Placement, Scene
from mtopt_sim.simulators import IMAGE_PERIOD

CLOCK_START_NS = 1_000_000_000
CHUNK_STEPS = 25
"""Steps of the physics between two joint commands. Of a longer series Gazebo tells only the last ten steps' movements,
which at 2 ms a step is all that matters of a thing that comes to rest."""
CHUNK = CHUNK_STEPS * TIME_STEP_NS / 1e9
REACH_TIME, GRIP_TIME, SETTLE_TIME, REST_TIME = 0.8, 0.4, 2.0, 0.2
GRASP_GAP, FLOOR_GAP = 0.0005, 0.0001  # m
FLOOR_GAPS = 4
AT_REST = 2e-4
"""m; objects that move less in a fifth of a second lie still."""
PLACED = 0.02
"""m; nearer, a thing is where it was put, though it may have begun to fall or be pushed out of another."""
PLACE_ATTEMPTS = 10


class GazeboPlant:
    """A server with the cell's world; `Plant` says what the methods are for.

    A server that is lost is started again by the next scene.

    Args:
        table: The cell.
        image_size: Side of the images, px.
        cameras: Cameras that render.
        period: Between two images, s; every motion lasts a multiple of it. Gazebo finds its multiples by a division of
            doubles, so halves of a second are safe and tenths sometimes come a step late.

    Raises:
        SimulationError: Gazebo is not there or does not run the world.
    """

    def __init__(
        self, table: CellTable, image_size: int, cameras: Sequence[str] = CAMERAS, period: float = IMAGE_PERIOD
    ) -> None:
        self._table = table
        self._image_size = image_size
        self._cameras = tuple(cameras)
        self._period = round(period * 1e9)
        self._arm = ArmJoints(table.arm)
        self._cloth = ClothHinges(table.cloth) if table.cloth else None
        self._finger_goal = table.arm.finger_open
        self._arm_goal = np.array(table.arm.home)
        self._scene_poses: dict[str, np.ndarray] = {}
        self._clock_offset = CLOCK_START_NS
        self._pictures: dict[str, tuple[int, np.ndarray]] = {}
        self._simulation: Simulation | None = None
        self._started = 0
        self._start()

    @property
    def stamp(self) -> int:
        """The clock, ns; it goes on where it was when a server is started again."""
        return self._clock_offset + (self._simulation.time if self._simulation is not None else 0)

    @property
    def tick(self) -> int:
        """Simulated time between two images, ns."""
        return self._period

    @property
    def joint_positions(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad."""
        return self._arm.positions(self._running, self._arm_goal)

    @property
    def joint_velocities(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad/s, over the last step of the physics, or a few where one is lost."""
        before = self._arm.positions(self._running, self._arm_goal, before=True)
        return (self.joint_positions - before) / self._running.interval

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""
        return self._arm.gripper_width(self._running)

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was close."""
        return self._finger_goal < self._table.arm.finger_open / 2

    @property
    def tip_position(self) -> np.ndarray:
        """Gripper tip in the base frame, `(3,)` m."""
        return self._arm.tip(self._running)[:3, 3]

    @property
    def yaw(self) -> float:
        """Gripper's rotation about the vertical, rad."""
        tip = self._arm.tip(self._running)
        return float(np.arctan2(tip[1, 0], tip[0, 0]))

    def close(self) -> None:
        """End the server."""
        if self._simulation is not None:
            self._clock_offset = self.stamp + self._period
            self._simulation.close()
            self._simulation = None

    def dress(self, scene: Scene) -> None:
        """Give everything a scene's looks; plate and cameras are put into place with the objects."""
        self._see_that_it_runs()
        table, look = self._table, scene.look
        palette = np.array(table.plate.colours[look.plate_colour]) + look.plate_tint
        red, green, blue = np.clip(palette, 0.0, 1.0).tolist()
        surfaces = [table_shape(table), *(shape for one in table.bins for shape in bin_shapes(one))]
        self._paint(SURROUNDINGS, [tinted(shape, look.surface_tint) for shape in surfaces])
        self._paint(PLATE, plate_shapes(table.plate, (red, green, blue)))
        for category, tint in zip(table.categories, look.object_tints, strict=True):
            self._paint(category.name, [tinted(shape, tint) for shape in category.shapes])
        self._running.light(look.lamp_direction, look.lamp_brightness)
        plate = rotation_from_rpy(0.0, 0.0, scene.plate_yaw)
        self._scene_poses = {PLATE: pose_of(np.append(scene.plate_position, 0.0), plate)}
        for camera, shift, turn in zip(table.cameras, look.camera_shifts, look.camera_turns, strict=True):
            # The wrist camera is bolted to a moving link of the model, which nothing can shift while it runs.
            if camera.link == table.arm.base:
                mounted = pose_of(np.array(camera.position) + shift, gazebo_axes(camera.axes @ rotation_by(turn)))
                self._scene_poses[camera.name] = mounted @ np.linalg.inv(pose_of(*camera_pose(camera)))

    def place(self, joints: np.ndarray, objects: Mapping[str, Placement], cloth: ClothPlacement | None = None) -> None:
        """Put the arm, its gripper open, and objects into place, at rest; the others wait where no camera looks."""
        simulation = self._running
        simulation.reset()
        self._finger_goal = self._table.arm.finger_open
        self._arm_goal = np.array(self._table.arm.home)
        simulation.command(self._arm.targets(self._arm_goal, self._finger_goal), self._arm.gains)
        if self._cloth is not None:
            self._cloth.shape(simulation, cloth.qpos[FREE:] if cloth else 0.0)
        self._teleport(self._scene_poses)
        if cloth is not None or np.any(joints != self._arm_goal):
            self._go(joints, self._finger_goal, REACH_TIME)
        poses = {name: self._above_floor(name, place) for name, place in objects.items()}
        if cloth is not None:
            poses[self._the_cloth.name] = _first_strip(cloth)
        self._teleport(poses)
        if cloth is not None:
            self._the_cloth.relax(simulation, cloth.rest)
        self._until_image()

    def _above_floor(self, name: str, place: Placement) -> np.ndarray:
        """Return the pose `(4, 4)` of an object that is laid where it rests in another simulator.

        What rests there has sunk in by some tenths of a millimetre, and what has to be pushed out here begins to roll.
        The physics repeat themselves to the last bit, and so does their divergence, so every further server begins with
        things a tenth of a millimetre higher or lower than the one that was lost.
        """
        gap = FLOOR_GAP * (1 + (self._started - 1) % FLOOR_GAPS)
        lowest = place.position[2] + lowest_point(self._table.category(name).shapes, place.rotation)
        return pose_of(place.position + np.array([0.0, 0.0, max(0.0, gap - lowest)]), place.rotation)

    def put_into_hand(self, name: str, lying: np.ndarray, offset: np.ndarray) -> None:
        """Set an object between the fingers, across its narrow side, and let them close on it."""
        rotation, width = between_pads(self._table.category(name).shapes, lying, self.yaw)
        hand = rotation_from_rpy(0.0, 0.0, self.yaw)
        self._narrow(width / 2)
        self._close_on(name, pose_of(self.tip_position + hand @ offset, rotation))
        self._until_image()

    def put_cloth_into_hand(self, cloth: ClothPlacement, above: float) -> None:
        """Hang the cloth by its fold between the fingers and let them close on it."""
        hinges = self._the_cloth
        top = self.tip_position + np.array([0.0, 0.0, above])
        hung = hanging_placement(hinges.cloth, cloth.rest, top, self.yaw + np.pi / 2)
        hinges.shape(self._running, hung.qpos[FREE:])
        self._narrow(hinges.cloth.strip[2])
        self._close_on(hinges.name, _first_strip(hung))
        hinges.relax(self._running, cloth.rest)
        self._until_image()

    def _narrow(self, half_width: float) -> None:
        """Open the fingers just wide enough for what is to come between them, m."""
        self._go(self._arm_goal, min(half_width + GRASP_GAP, self._finger_goal), GRIP_TIME)

    def _close_on(self, name: str, pose: np.ndarray) -> None:
        """Put something between the fingers, which close before it has fallen out of them."""
        self._finger_goal = 0.0
        self._running.command(self._arm.targets(self._arm_goal, 0.0))
        self._teleport({name: pose})

    def settle(self, grasping: bool) -> None:  # noqa: ARG002 (what is held is seen to be still)
        """Let time pass until no object moves, or for two seconds."""
        for _ in range(round(SETTLE_TIME / REST_TIME)):
            before = self._places()
            for _ in range(round(REST_TIME / CHUNK)):
                self._running.step(CHUNK_STEPS)
            if np.abs(self._places() - before).max() < AT_REST:
                break
        self._until_image()

    def _places(self) -> np.ndarray:
        """Return the position `(3,)`, m, of every rigid thing that can lie about."""
        return np.array([body.position for name in self._table.object_names for body in self.bodies(name)])

    def motion(self, arm: Trajectory, gripper: Trajectory) -> Iterator[None]:
        """Carry out two trajectories; hand control back at every image. The time is rounded up to the next image."""
        images = max(1, int(np.ceil(arm.duration * 1e9 / self._period - 1e-6)))
        each = self._period // (CHUNK_STEPS * TIME_STEP_NS)
        try:
            for number, _ in enumerate(self._follow(arm, gripper, images * each), 1):
                if number % each == 0:
                    if self._arm.is_lost(self._running):
                        raise DivergedError("Gazebo's physics diverged; reset the cell")
                    yield
        except SimulationError:
            # Neither a reset nor a teleport heals a server whose arm is nowhere.
            self.close()
            raise

    def _follow(self, arm: Trajectory, gripper: Trajectory, chunks: int) -> Iterator[None]:
        """Follow two trajectories for so many chunks; hand control back after each."""
        # Each command holds for a chunk: what is wanted in its middle, and at the end what is wanted then.
        times = (np.arange(chunks) + 0.5) * CHUNK
        times[-1] = chunks * CHUNK
        positions, velocities = arm.sample(self.joint_positions, times)
        fingers, _ = gripper.sample(np.array([self._finger_goal]), times)
        references = positions + DAMPING / STIFFNESS * velocities
        self._finger_goal = float(fingers[-1, 0])
        self._arm_goal = positions[-1]
        for reference, finger in zip(references, fingers[:, 0].tolist(), strict=True):
            self._running.command(self._arm.targets(reference, finger))
            self._running.step(CHUNK_STEPS)
            yield

    def bodies(self, name: str) -> list[Body]:
        """Return the rigid parts of an object, or of the cloth, where they are."""
        if self._is_cloth(name):
            return self._the_cloth.strips(self._running, self._model_pose(name))
        return [self.body(name)]

    def body(self, name: str) -> Body:
        """Return a rigid object where it is."""
        pose = self._model_pose(name)
        return Body(self._table.category(name).shapes, pose[:3, 3].copy(), pose[:3, :3].copy())

    def position(self, name: str) -> np.ndarray:
        """Return the middle of an object, or the cloth's centre of mass, `(3,)` m."""
        return np.mean([body.position for body in self.bodies(name)], axis=0)

    def touching(self, name: str) -> set[str]:
        """Return the links of the gripper that touch an object or the cloth."""
        mine = set(self._the_cloth.links) if self._is_cloth(name) else {f'{name}::{LINK}'}
        beside = {other for pair in self._running.contacts() if mine.intersection(pair) for other in pair}
        return {link for link in self._table.arm.touching_links if f'{self._table.arm.name}::{link}' in beside}

    def fold(self) -> tuple[np.ndarray, float]:
        """Return the middle of the cloth's highest hinge, `(3,)` m, and its direction, rad about the vertical."""
        return self._the_cloth.fold(self._the_cloth.strips(self._running, self._model_pose(self._the_cloth.name)))

    def is_covered(self, name: str) -> bool:
        """Return whether the cloth lies over an object's middle, seen from above."""
        if self._cloth is None or self._is_cloth(name):
            return False
        return covers(self.bodies(self._cloth.name), self.position(name))

    def on_plate(self, name: str) -> np.ndarray:
        """Return x and y `(2,)`, m, of the centre of mass of an object or the cloth in the plate's frame."""
        if self._is_cloth(name):
            place = np.append(self.position(name), 1.0)
        else:
            centre, _ = mass_properties(self._table.category(name))
            place = self._model_pose(name) @ np.append(centre, 1.0)
        return (np.linalg.inv(self._scene_poses[PLATE]) @ place)[:2]

    def render(self, camera: str, size: int) -> np.ndarray:
        """Return what a camera sees, `(S, S, 3) uint8`; size and cameras are those the server was started with."""
        if size != self._image_size:
            raise SimulationError(
                f"Gazebo's cameras show {self._image_size} px; {size} px need another server, started with that size"
            )
        stamp, picture = self._pictures.get(camera, (-1, np.zeros(0)))
        if stamp != self.stamp:
            picture = self._running.image(camera)
            self._pictures[camera] = self.stamp, picture
        return picture.copy()

    def viewpoint(self, camera: str) -> Viewpoint:
        """Return from where a camera really looks."""
        one = next(one for one in self._table.cameras if one.name == camera)
        if one.link == self._table.arm.base:
            mount = self._scene_poses.get(one.name, np.eye(4))
        else:
            mount = self._arm.link(self._running, one.link)
        pose = mount @ pose_of(*camera_pose(one))
        return Viewpoint(pose[:3, 3], table_axes(pose[:3, :3]), one.field_of_view)

    @property
    def _running(self) -> Simulation:
        if self._simulation is None:
            raise SimulationError('there is no server of Gazebo; reset the cell')
        return self._simulation

    @property
    def _the_cloth(self) -> ClothHinges:
        if self._cloth is None:
            raise SimulationError('the cell has no cloth')
        return self._cloth

    def _is_cloth(self, name: str) -> bool:
        return self._cloth is not None and name == self._cloth.name

    def _see_that_it_runs(self) -> None:
        """Start a server where there is none, or the last one has died."""
        if self._simulation is not None:
            try:
                self._simulation.check()
            except TransportError:
                self.close()
        if self._simulation is None:
            self._start()

    def _start(self) -> None:
        self._started += 1
        self._simulation = Simulation(self._table, self._image_size, self._cameras, self._period / 1e9)
        self._until_image()

    def _paint(self, model: str, shapes: Sequence[Shape]) -> None:
        for number, shape in enumerate(shapes):
            self._running.paint(f'{model}::{LINK}', number, shape.colour)

    def _go(self, joints: np.ndarray, finger: float, duration: float) -> None:
        times = np.array([duration])
        arm, gripper = Trajectory.at_rest(times, joints[None]), Trajectory.at_rest(times, np.array([[finger]]))
        for _ in self._follow(arm, gripper, round(duration / CHUNK)):
            pass

    def _teleport(self, poses: Mapping[str, np.ndarray]) -> None:
        """Put models somewhere, and see that they are there."""
        missing = dict(poses)
        for _ in range(PLACE_ATTEMPTS):
            self._running.place(missing)
            self._running.step(1)
            missing = {name: pose for name, pose in missing.items() if not self._is_at(name, pose)}
            if not missing:
                return
        raise SimulationError(f'Gazebo does not put {", ".join(missing)} into place')

    def _is_at(self, name: str, pose: np.ndarray) -> bool:
        there = self._running.pose(name)
        return there is not None and bool(np.abs(there[:3, 3] - pose[:3, 3]).max() < PLACED)

    def _until_image(self) -> None:
        """Go on to the next multiple of the period."""
        left = -self._running.time % self._period // TIME_STEP_NS
        while left > 0:
            count = min(left, CHUNK_STEPS)
            self._running.step(count)
            left -= count

    def _model_pose(self, name: str) -> np.ndarray:
        pose = self._running.pose(name)
        return pose if pose is not None else pose_of(*parked(self._table, name))


def _first_strip(cloth: ClothPlacement) -> np.ndarray:
    """Return the pose `(4, 4)` of the strip that the cloth begins with."""
    return pose_of(cloth.qpos[:3], from_quaternion(*cloth.qpos[3:FREE]))

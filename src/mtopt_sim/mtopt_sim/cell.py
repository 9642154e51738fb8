"""The simulated cell without ROS: reset by seed, run trajectories, look, and know the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL, RIGHT_BIN, start_pose
from mtopt_core.description.parts import CellTable, Motion
from mtopt_core.description.urdf import urdf_text
from mtopt_core.episode import Observation
from mtopt_core.images import encode_jpeg
from mtopt_core.kinematics import Kinematics
from mtopt_core.tasks import TaskSet
from mtopt_core.trajectory import Trajectory
from mtopt_core.viewpoint import Viewpoint
from mtopt_sim.cloth import ClothPlacement
from mtopt_sim.errors import SimulationError
from mtopt_sim.geometry import lowest_point, reach
from mtopt_sim.grasping import Grasp, best_grasp, fold_grasp
from mtopt_sim.mujoco_plant import MujocoPlant
from mtopt_sim.outcomes import ObjectState, outcomes
from mtopt_sim.plant import Plant
from mtopt_sim.scene import Objects, Placement, draw_scene, place_objects, resting_rotation

ATTEMPTS = 20
# How a held object sits: off the middle along the pads, and above the fingers' ends, m.
HELD_ASIDE, HELD_ABOVE = 0.005, (0.006, 0.018)
# The same of a cloth's fold, which a grip that is shallower would lose.
FOLD_ABOVE = (0.011, 0.018)


class Cell:
    """One simulated cell. It moves only in `run` and `motion`.

    Args:
        image_size: Side of the square images, px.
        cameras: Cameras that `observation` shows when not told otherwise.
        objects: Categories of every scene; or the smallest and largest number of objects; or none, for each category
            with its own probability.
        table: The cell.
        plant: The simulator; none: MuJoCo. Where things come to rest is found by MuJoCo in any case, so that a seed
            means the same scene everywhere, and twice the same where a simulator is not deterministic.
        looks: How much light, colours and cameras of the scenes vary; `draw_scene` says what it means.

    Attributes:
        table: The cell.
        cameras: Names of the cameras shown.
        image_size: Side of the square images, px.
        kinematics: Of the arm.
    """

    def __init__(
        self,
        image_size: int = 128,
        cameras: Iterable[str] = CAMERAS,
        objects: Objects = None,
        table: CellTable = CELL,
        plant: Plant | None = None,
        looks: float = 1.0,
    ) -> None:
        self.table = table
        self.cameras = tuple(cameras)
        self.image_size = image_size
        self._cloth_name = table.cloth.name if table.cloth else ''
        self._check(0, None, None)
        self.kinematics = Kinematics.from_urdf(urdf_text(table.arm), table.arm.base, table.arm.tip)
        self._objects = objects
        self._looks = looks
        self._settling = MujocoPlant(table, image_size)
        self._plant: Plant = plant or self._settling
        fingers = (joint.child for joint in table.arm.joints if joint.motion is Motion.PRISMATIC)
        self._fingers = frozenset(fingers)
        self._present: tuple[str, ...] = ()
        self._placed: str | None = None
        self._plate_place = np.zeros(2), 0.0
        self.reset(0)

    def close(self) -> None:
        """Free what the simulator holds, in the thread that rendered first."""
        self._plant.close()

    def reset(self, seed: int, region: str | None = None, holding: bool = False, require: str | None = None) -> None:
        """Make a new scene; the same arguments make the same one.

        Args:
            seed: Decides objects, their places, the plate, looks, and the arm's start pose; at least 0.
            region: Bin above which the arm starts in a random pose; none: its home pose.
            holding: Start with one of the scene's objects in the hand, really grasped; a cloth that is required.
            require: Category that must be in the scene; or the cloth, which is in no other scene.

        Raises:
            SimulationError: The seed is negative, or there is no such region or category.
        """
        self._check(seed, region, require)
        scene_rng, start_rng = np.random.default_rng(seed).spawn(2)
        scene = draw_scene(self.table, self._objects, require, scene_rng, holding, self._looks)
        self._plate_place = scene.plate_position, scene.plate_yaw
        self._present = tuple(scene.objects) if scene.cloth is None else (*scene.objects, self._cloth_name)
        self._plant.dress(scene)
        held = None
        if holding:
            held = str(start_rng.choice(self._present)) if scene.cloth is None else self._cloth_name
        laid = {name: place for name, place in scene.objects.items() if name != held}
        lying, cloth = self._settled(laid, None if holding else scene.cloth, scene_rng)
        for _ in range(ATTEMPTS):
            self._plant.place(self._start(region, start_rng), lying, cloth)
            if held is not None:
                self._put_into_hand(held, scene.cloth, start_rng)
            self._plant.settle(grasping=held is not None)
            states = self.object_states()
            if all(state.held if name == held else not state.touched for name, state in states.items()):
                break
        else:
            raise SimulationError(f'scene {seed} leaves the hand no room in {ATTEMPTS} attempts; choose another seed')
        self.begin_episode()

    def begin_episode(self) -> None:
        """Remember what is in the hand: places are judged by that object until the next episode begins."""
        self._placed = next((name for name, state in self.object_states().items() if state.held), None)

    def run(self, arm: Trajectory, gripper: Trajectory) -> None:
        """Carry out two trajectories; takes exactly the arm's time. `Plant.motion` says how.

        Raises:
            SimulationError: The physics diverged.
        """
        for _ in self.motion(arm, gripper):
            pass

    def motion(self, arm: Trajectory, gripper: Trajectory) -> Iterator[None]:
        """Carry out two trajectories as `run` does, handing control back after each `tick`."""
        return self._plant.motion(arm, gripper)

    @property
    def stamp(self) -> int:
        """The simulator's clock, ns."""
        return self._plant.stamp

    @property
    def tick(self) -> int:
        """Simulated time between two times that `motion` hands control back, ns."""
        return self._plant.tick

    @property
    def joint_positions(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad."""
        return self._plant.joint_positions

    @property
    def joint_velocities(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad/s."""
        return self._plant.joint_velocities

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""
        return self._plant.gripper_width

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was close."""
        return self._plant.gripper_closed

    @property
    def tip_position(self) -> np.ndarray:
        """Gripper tip in the base frame, `(3,)` m."""
        return self._plant.tip_position

    @property
    def yaw(self) -> float:
        """Gripper's rotation about the vertical, rad."""
        return self._plant.yaw

    @property
    def height_to_bottom(self) -> float:
        """Height of the tip over the bins' bottom, m."""
        return float(self.tip_position[2])

    def render(self, camera: str, size: int | None = None) -> np.ndarray:
        """Return what a camera sees, `(S, S, 3) uint8`.

        Args:
            camera: Its name.
            size: Side of the picture, px; one that is not the cell's is for people and has smooth edges.
        """
        return self._plant.render(camera, size or self.image_size)

    def viewpoint(self, camera: str) -> Viewpoint:
        """Return from where a camera really looks: cameras are a little off the table's places in every scene."""
        return self._plant.viewpoint(camera)

    def observation(self, jpeg_quality: int, cameras: Iterable[str] | None = None) -> Observation:
        """Return what a robot would observe now.

        Args:
            jpeg_quality: 1 to 100.
            cameras: Cameras to look through; none: the cell's.
        """
        views = self.cameras if cameras is None else cameras
        return Observation(
            stamp=self.stamp,
            images={name: encode_jpeg(self.render(name), jpeg_quality) for name in views},
            joint_positions=self.joint_positions,
            tip_position=self.tip_position,
            yaw=self.yaw,
            gripper_closed=self.gripper_closed,
            gripper_width=self.gripper_width,
            height_to_bottom=self.height_to_bottom,
        )

    def object_positions(self) -> dict[str, np.ndarray]:
        """Return the true centre `(3,)`, m, of every object in the scene."""
        return {name: self._plant.position(name) for name in self._present}

    def section_position(self, section: str) -> np.ndarray:
        """Return a point `(2,)`, m, well within a section of the plate, where the plate lies in this scene."""
        position, yaw = self._plate_place
        x, y = self.table.plate.middle_of(section)
        return position + np.array([np.cos(yaw) * x - np.sin(yaw) * y, np.sin(yaw) * x + np.cos(yaw) * y])

    def top(self, name: str) -> float:
        """Return the height of an object's highest point, m."""
        return max(float(body.position[2]) + reach(body.shapes, body.rotation[2]) for body in self._plant.bodies(name))

    def grasp(self, name: str) -> Grasp:
        """Return the best straight top-down grasp of an object, knowing where everything is."""
        others = [body for other in self._present if other != name for body in self._plant.bodies(other)]
        place = self._plant.position(name)
        home = min(self.table.bins, key=lambda one: float(np.hypot(*(place[:2] - one.centre))))
        opening = 2 * self.table.arm.finger_open
        if name == self._cloth_name:
            return fold_grasp(*self._plant.fold(), others, home, opening)
        return best_grasp(self._plant.body(name), others, home, opening)

    def object_states(self) -> dict[str, ObjectState]:
        """Return the truth about every object in the scene."""
        return {name: self._state(name) for name in self._present}

    def outcomes(self, task_set: TaskSet) -> dict[str, bool]:
        """Return whether each task is solved now; `mtopt_sim.outcomes.outcomes` says what that means.

        Raises:
            SimulationError: A task has a skill that the simulator cannot judge.
        """
        return outcomes(task_set, self.object_states(), self._placed)

    def _state(self, name: str) -> ObjectState:
        touching = self._plant.touching(name)
        return ObjectState(
            lowest=min(
                float(body.position[2]) + lowest_point(body.shapes, body.rotation) for body in self._plant.bodies(name)
            ),
            held=touching >= self._fingers,
            touched=bool(touching),
            section=self.table.plate.section_at(*self._plant.on_plate(name)),
            covered=self._plant.is_covered(name),
        )

    def _settled(
        self, objects: dict[str, Placement], cloth: ClothPlacement | None, rng: np.random.Generator
    ) -> tuple[dict[str, Placement], ClothPlacement | None]:
        """Let objects and cloth come to rest in the right bin, out of the arm's way, and return where."""
        home, plant = self.table.bin(RIGHT_BIN), self._settling
        for _ in range(ATTEMPTS):
            plant.place(np.array(self.table.arm.home), objects, cloth)
            plant.settle(grasping=False)
            resting = {name: plant.body(name) for name in objects}
            if all(home.contains(body.position[0], body.position[1]) for body in resting.values()):
                lying = {name: Placement(body.position, body.rotation) for name, body in resting.items()}
                return lying, plant.cloth.placement if plant.cloth is not None and cloth is not None else None
            objects = place_objects(self.table, tuple(objects), rng)
        raise SimulationError(f'the objects {", ".join(objects)} did not stay in their bin in {ATTEMPTS} attempts')

    def _start(self, region: str | None, rng: np.random.Generator) -> np.ndarray:
        home = np.array(self.table.arm.home)
        return home if region is None else self.kinematics.inverse(home, *start_pose(region, rng, self.table))

    def _put_into_hand(self, name: str, cloth: ClothPlacement | None, rng: np.random.Generator) -> None:
        if cloth is not None:
            self._plant.put_cloth_into_hand(cloth, rng.uniform(*FOLD_ABOVE))
            return
        lying = resting_rotation(self.table.category(name), rng)
        aside, above = rng.uniform(-HELD_ASIDE, HELD_ASIDE), rng.uniform(*HELD_ABOVE)
        self._plant.put_into_hand(name, lying, np.array([aside, 0.0, above]))

    def _check(self, seed: int, region: str | None, require: str | None) -> None:
        known: dict[str, tuple[Iterable[str], Iterable[str]]] = {
            'camera': ([camera.name for camera in self.table.cameras], self.cameras),
            'start region': ([one.name for one in self.table.bins], [region] if region is not None else []),
            'category': (self.table.object_names, [require] if require is not None else []),
        }
        for what, (names, asked) in known.items():
            for name in asked:
                if name not in names:
                    raise SimulationError(f'the cell has no {what} {name!r}; known: {", ".join(names)}')
        if seed < 0:
            raise SimulationError(f'seed {seed} is negative; choose one from 0')

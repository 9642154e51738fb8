"""The simulated cell without ROS: reset by seed, run trajectories, look, and know the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import mujoco
import numpy as np

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL, RIGHT_BIN, start_pose
from mtopt_core.description.parts import CellTable
from mtopt_core.description.urdf import urdf_text
from mtopt_core.episode import Observation
from mtopt_core.images import encode_jpeg
from mtopt_core.kinematics import Kinematics, rotation_from_rpy
from mtopt_core.tasks import TaskSet
from mtopt_core.trajectory import Trajectory
from mtopt_sim.appearance import Appearance
from mtopt_sim.errors import SimulationError
from mtopt_sim.geometry import lowest_point, narrowest
from mtopt_sim.grasping import Body, Grasp, best_grasp
from mtopt_sim.model import SERVO_LEAD, TIME_STEP_NS, build_model
from mtopt_sim.outcomes import ObjectState, outcomes
from mtopt_sim.scene import Objects, Placement, draw_scene, place_objects, resting_rotation

CLOCK_START_NS = 1_000_000_000
# N m on each joint: some 25 N at the fingers. Pressed harder, light objects would be squeezed out of their shapes.
REFLEX_TORQUE = np.array([12.0, 12.0, 12.0, 12.0, 6.0, 6.0, 6.0])
BACK_OFF_STEPS = 8
SETTLE_STEPS = 250
GRASP_STEPS = 75
ATTEMPTS = 20
PARKED = np.array([-4.0, 0.0, 1.0])
# How a held object sits: its centre this far above the ends of the fingers, and off the middle along their pads, m.
GRASP_DEPTH = (0.006, 0.018)
GRASP_OFFSET = 0.008
GRASP_GAP = 0.0005


class Cell:
    """One simulated cell. It moves only in `run` and `motion`; the clock starts at 1 s and never goes back.

    The renderer belongs to the thread that asks for the first image.

    Args:
        image_size: Side of the square images, px.
        cameras: Cameras that `observation` shows when not told otherwise.
        objects: Categories of every scene; or the smallest and largest number of objects; or none, for each category
            with its own probability.
        table: The cell.
    """

    def __init__(
        self,
        image_size: int = 128,
        cameras: Iterable[str] = CAMERAS,
        objects: Objects = None,
        table: CellTable = CELL,
    ) -> None:
        known = [camera.name for camera in table.cameras]
        unknown = [name for name in cameras if name not in known]
        if unknown:
            raise SimulationError(f'the cell has no camera {", ".join(unknown)}; known: {", ".join(known)}')
        self.table = table
        self.cameras = tuple(cameras)
        self.image_size = image_size
        self.kinematics = Kinematics.from_urdf(urdf_text(table.arm), table.arm.base, table.arm.tip)
        self._objects = objects
        self._parts = build_model(table, image_size)
        self._model = self._parts.model
        self._data = mujoco.MjData(self._model)
        self._appearance = Appearance(self._parts, table)
        self._renderer: mujoco.Renderer | None = None
        self._tip = self._model.body(table.arm.tip).id
        self._names = tuple(category.name for category in table.categories)
        self._present: tuple[str, ...] = ()
        self._placed: str | None = None
        self._finger_goal = table.arm.finger_open
        self._stamp = CLOCK_START_NS
        self.reset(0)

    def close(self) -> None:
        """Free the renderer, in the thread that made it."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def reset(self, seed: int, region: str | None = None, holding: bool = False, require: str | None = None) -> None:
        """Make a new scene; the same arguments make the same one.

        Args:
            seed: Decides objects, their places, the plate, looks, and the arm's start pose; at least 0.
            region: Bin above which the arm starts in a random pose; none: its home pose.
            holding: Start with one of the scene's objects in the hand, really grasped.
            require: Category that must be in the scene.

        Raises:
            SimulationError: The seed is negative, or there is no such region or category.
        """
        self._check(seed, region, require)
        scene_rng, start_rng = np.random.default_rng(seed).spawn(2)
        scene = draw_scene(self.table, self._objects, require, scene_rng)
        self._present = tuple(scene.objects)
        self._appearance.apply(scene)
        start = np.array(self.table.arm.home)
        if region is not None:
            start = self.kinematics.inverse(start, *start_pose(region, start_rng, self.table))
        held = str(start_rng.choice(self._present)) if holding else None
        placements = scene.objects
        for _ in range(ATTEMPTS):
            self._place(start, {name: at for name, at in placements.items() if name != held})
            if held is not None:
                self._put_into_hand(held, start_rng)
            self._settle(held is not None)
            if self._is_ready(held):
                break
            placements = place_objects(self.table, self._present, scene_rng)
        else:
            raise SimulationError(f'scene {seed} did not come to rest in {ATTEMPTS} attempts; choose another seed')
        self.begin_episode()

    def begin_episode(self) -> None:
        """Remember what is in the hand: places are judged by that object until the next episode begins."""
        held = [name for name, state in self.object_states().items() if state.held]
        self._placed = held[0] if held else None

    def run(self, arm: Trajectory, gripper: Trajectory) -> None:
        """Carry out two trajectories; takes exactly the arm's time.

        Args:
            arm: Of the seven joints, rad; starts where they are.
            gripper: Of the finger joint, m; starts where it was last commanded to be, so that a grip stays firm.
        """
        for _ in self.motion(arm, gripper):
            pass

    def motion(self, arm: Trajectory, gripper: Trajectory) -> Iterator[None]:
        """Carry out two trajectories as `run` does, handing control back after each simulated 4 ms.

        Like a real arm's collision reflex: when contacts load a joint too much, the arm backs off a little and waits
        for the trajectory to end.
        """
        times = np.arange(1, max(1, round(arm.duration * 1e9 / TIME_STEP_NS)) + 1) * (TIME_STEP_NS / 1e9)
        positions, velocities = arm.sample(self.joint_positions, times)
        fingers, _ = gripper.sample(np.array([self._finger_goal]), times)
        self._finger_goal = float(fingers[-1, 0])
        references = positions + SERVO_LEAD * velocities
        # A grip may press already; only what is added trips the reflex.
        limit = np.maximum(REFLEX_TORQUE, 1.05 * self._outside_torque())
        for index, finger in enumerate(fingers):
            if (self._outside_torque() > limit).any():
                references[index:] = positions[max(0, index - BACK_OFF_STEPS)]
                limit = np.full_like(limit, np.inf)
            self._data.ctrl[:-1], self._data.ctrl[-1:] = references[index], finger
            mujoco.mj_step(self._model, self._data)
            self._stamp += TIME_STEP_NS
            yield
        mujoco.mj_forward(self._model, self._data)

    @property
    def stamp(self) -> int:
        """The simulator's clock, ns."""
        return self._stamp

    @property
    def joint_positions(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad."""
        return self._data.qpos[self._parts.arm_dofs].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad/s."""
        return self._data.qvel[self._parts.arm_dofs].copy()

    @property
    def finger_positions(self) -> np.ndarray:
        """Both finger joints, `(2,)` m; 0 is closed."""
        return self._data.qpos[self._parts.finger_dofs].copy()

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""
        return float(self.finger_positions.sum())

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was close."""
        return self._finger_goal < self.table.arm.finger_open / 2

    @property
    def tip_position(self) -> np.ndarray:
        """Gripper tip in the base frame, `(3,)` m."""
        return self._data.xpos[self._tip].copy()

    @property
    def yaw(self) -> float:
        """Gripper's rotation about the vertical, rad."""
        rotation = self._data.xmat[self._tip].reshape(3, 3)
        return float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    @property
    def height_to_bottom(self) -> float:
        """Height of the tip over the bins' bottom, m."""
        return float(self.tip_position[2])

    def render(self, camera: str) -> np.ndarray:
        """Return what a camera sees, `(S, S, 3) uint8`."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, self.image_size, self.image_size)
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def observation(self, jpeg_quality: int, cameras: Iterable[str] | None = None) -> Observation:
        """Return what a robot would observe now.

        Args:
            jpeg_quality: 1 to 100.
            cameras: Cameras to look through; none: the cell's.
        """
        views = self.cameras if cameras is None else cameras
        return Observation(
            stamp=self._stamp,
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
        return {name: self._where(name).position for name in self._present}

    def grasp(self, name: str) -> Grasp:
        """Return the best straight top-down grasp of an object, knowing where everything is."""
        bodies = {other: self._where(other) for other in self._present}
        body = bodies.pop(name)
        home = min(self.table.bins, key=lambda one: float(np.hypot(*(body.position[:2] - one.centre))))
        return best_grasp(body, list(bodies.values()), home, 2 * self.table.arm.finger_open)

    def object_states(self) -> dict[str, ObjectState]:
        """Return the truth about every object in the scene."""
        touching = self._touching_bodies()
        states = {}
        for name in self._present:
            body = self._where(name)
            states[name] = ObjectState(
                lowest=float(body.position[2]) + lowest_point(body.shapes, body.rotation),
                held=touching[name].issuperset(self._parts.finger_bodies),
                touched=bool(touching[name]),
                section=self._section(self._data.xipos[self._body(name)]),
            )
        return states

    def outcomes(self, task_set: TaskSet) -> dict[str, bool]:
        """Return whether each task is solved now; `mtopt_sim.outcomes.outcomes` says what that means.

        Raises:
            SimulationError: A task has a skill that the simulator cannot judge.
        """
        return outcomes(task_set, self.object_states(), self._placed)

    def _check(self, seed: int, region: str | None, require: str | None) -> None:
        if seed < 0:
            raise SimulationError(f'seed {seed} is negative; choose one from 0')
        regions = [one.name for one in self.table.bins]
        if region is not None and region not in regions:
            raise SimulationError(f'there is no start region {region!r}; known: {", ".join(regions)}')
        if require is not None and require not in self._names:
            raise SimulationError(f'there are no objects {require!r}; known: {", ".join(self._names)}')

    def _outside_torque(self) -> np.ndarray:
        """Return what contacts load the arm's joints with, `(7,)` N m."""
        return np.abs(self._data.qfrc_constraint[self._parts.arm_dofs])

    def _body(self, name: str) -> int:
        return int(self._parts.object_bodies[self._names.index(name)])

    def _where(self, name: str) -> Body:
        body = self._body(name)
        rotation = self._data.xmat[body].reshape(3, 3).copy()
        return Body(self.table.category(name).shapes, self._data.xpos[body].copy(), rotation)

    def _place(self, joints: np.ndarray, placements: dict[str, Placement]) -> None:
        """Put everything where the scene wants it; absent objects float, asleep, where no camera looks."""
        mujoco.mj_resetData(self._model, self._data)
        data = self._data
        data.qpos[self._parts.arm_dofs] = joints
        self._finger_goal = self.table.arm.finger_open
        data.qpos[self._parts.finger_dofs] = self._finger_goal
        for index, name in enumerate(self._names):
            self._model.body_gravcomp[self._parts.object_bodies[index]] = name not in self._present
            place = placements.get(name, Placement(PARKED + np.array([0, 0.3 * index, 0]), np.eye(3)))
            self._set_pose(name, place)
        data.ctrl[:] = [*joints, self._finger_goal]
        mujoco.mj_forward(self._model, data)

    def _set_pose(self, name: str, place: Placement) -> None:
        start = self._parts.object_qpos[self._names.index(name)]
        self._data.qpos[start : start + 3] = place.position
        mujoco.mju_mat2Quat(self._data.qpos[start + 3 : start + 7], place.rotation.ravel())

    def _put_into_hand(self, name: str, rng: np.random.Generator) -> None:
        """Set an object between the fingers, across its narrow side, and let them close on it."""
        shapes = self.table.category(name).shapes
        lying = resting_rotation(self.table.category(name), rng)
        across, width = narrowest(shapes, lying)
        turn = self.yaw - np.pi / 2 - across + np.pi * rng.integers(2)
        forward = np.array([np.cos(self.yaw), np.sin(self.yaw), 0.0])
        offset = rng.uniform(-GRASP_OFFSET, GRASP_OFFSET) * forward + (0, 0, rng.uniform(*GRASP_DEPTH))
        self._set_pose(name, Placement(self.tip_position + offset, rotation_from_rpy(0, 0, turn) @ lying))
        self._data.qpos[self._parts.finger_dofs] = min(width / 2 + GRASP_GAP, self._finger_goal)
        self._finger_goal = 0.0
        self._data.ctrl[-1] = self._finger_goal

    def _settle(self, grasping: bool) -> None:
        """Let time pass until nothing moves; the arm never sleeps, nor does what it holds."""
        for step in range(SETTLE_STEPS):
            mujoco.mj_step(self._model, self._data)
            if self._data.ntree_awake <= 1 + grasping and step >= GRASP_STEPS * grasping:
                break
        self._stamp += SETTLE_STEPS * TIME_STEP_NS
        mujoco.mj_forward(self._model, self._data)

    def _is_ready(self, held: str | None) -> bool:
        """Return whether the objects lie in the right bin and the one to be held is held."""
        home = self.table.bin(RIGHT_BIN)
        places = self.object_positions()
        if held is not None and not self.object_states()[held].held:
            return False
        return all(home.contains(*place[:2]) for name, place in places.items() if name != held)

    def _touching_bodies(self) -> dict[str, set[int]]:
        """Return for every object the parts of the gripper that touch it."""
        touching: dict[str, set[int]] = {name: set() for name in self._present}
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        for one, other in [*bodies, *bodies[:, ::-1]]:
            if one in self._parts.object_bodies and other in self._parts.touching_bodies:
                touching[self._model.body(one).name].add(int(other))
        return touching

    def _section(self, position: np.ndarray) -> str | None:
        body = self._parts.plate_body
        offset = self._data.xmat[body].reshape(3, 3).T @ (position - self._data.xpos[body])
        return self.table.plate.section_at(offset[0], offset[1])

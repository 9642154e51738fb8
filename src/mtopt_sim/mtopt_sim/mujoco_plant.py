"""The cell in MuJoCo: it moves the arm, places objects, renders, and tells what touches what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import mujoco
import numpy as np

from mtopt_core.description.parts import CellTable
from mtopt_core.kinematics import rotation_from_rpy
from mtopt_core.trajectory import Trajectory
from mtopt_core.viewpoint import Viewpoint
from mtopt_sim.appearance import Appearance
from mtopt_sim.cloth import ClothPlacement, ClothState
from mtopt_sim.errors import DivergedError, SimulationError
from mtopt_sim.geometry import between_pads
from mtopt_sim.grasping import Body
from mtopt_sim.model import SERVO_LEAD, TIME_STEP_NS, build_model
from mtopt_sim.rendering import new_renderer
from mtopt_sim.scene import Placement, Scene

CLOCK_START_NS = 1_000_000_000
# N m on each joint: some 25 N at the fingers. Pressed harder, light objects would be squeezed out of their shapes.
REFLEX_TORQUE = np.array([12.0, 12.0, 12.0, 12.0, 6.0, 6.0, 6.0])
BACK_OFF_STEPS = 8
SETTLE_STEPS, GRASP_STEPS = 250, 75
PARKED = np.array([-4.0, 0.0, 1.0])
GRASP_GAP = 0.0005
_DIVERGED = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


def _pass_over(warning: str) -> None:
    """Take MuJoCo's warnings, which it would write to a file in whatever folder this was started from.

    Those that matter are counted in the state and raised after each motion.
    """


mujoco.set_mju_user_warning(_pass_over)


class MujocoPlant:
    """MuJoCo's model and data of one cell; `Plant` says what its methods are for. The clock starts at 1 s.

    A renderer belongs to the thread that asks for the first image of its size.

    Args:
        table: The cell.
        image_size: Side of the images a robot sees, px; pictures of other sizes are for people and have smooth edges.

    Attributes:
        parts: The model and where its parts are.
        data: MuJoCo's state.
        stamp: The clock, ns.
        tick: Simulated time between two times that `motion` hands control back, ns.
        cloth: The cloth; none in a cell without.
    """

    def __init__(self, table: CellTable, image_size: int) -> None:
        self.parts = build_model(table)
        self.data = mujoco.MjData(self.parts.model)
        self.stamp = CLOCK_START_NS
        self.tick = TIME_STEP_NS
        self.cloth = ClothState(self.parts.model, self.data, table.cloth) if table.cloth else None
        self._table = table
        self._image_size = image_size
        self._appearance = Appearance(self.parts, table)
        self._renderers: dict[int, mujoco.Renderer] = {}
        self._names = tuple(category.name for category in table.categories)
        self._tip = self.parts.model.body(table.arm.tip).id
        self._finger_goal = table.arm.finger_open

    @property
    def joint_positions(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad."""
        return self.data.qpos[self.parts.arm_dofs].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad/s."""
        return self.data.qvel[self.parts.arm_dofs].copy()

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""
        return float(self.data.qpos[self.parts.finger_dofs].sum())

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was close."""
        return self._finger_goal < self._table.arm.finger_open / 2

    @property
    def tip_position(self) -> np.ndarray:
        """Gripper tip in the base frame, `(3,)` m."""
        return self.data.xpos[self._tip].copy()

    @property
    def yaw(self) -> float:
        """Gripper's rotation about the vertical, rad."""
        rotation = self.data.xmat[self._tip].reshape(3, 3)
        return float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    def close(self) -> None:
        """Free the renderers, in the thread that made them."""
        while self._renderers:
            self._renderers.popitem()[1].close()

    def dress(self, scene: Scene) -> None:
        """Give everything a scene's looks."""
        self._appearance.apply(scene)

    def render(self, camera: str, size: int) -> np.ndarray:
        """Return what a camera sees, `(S, S, 3) uint8`."""
        if size not in self._renderers:
            self._renderers[size] = new_renderer(self.parts.model, size, smooth=size != self._image_size)
        self._renderers[size].update_scene(self.data, camera)
        return self._renderers[size].render()

    def viewpoint(self, camera: str) -> Viewpoint:
        """Return from where a camera really looks: cameras are a little off the table's places in every scene."""
        index = self.parts.model.camera(camera).id
        position, rotation = self.data.cam_xpos[index].copy(), self.data.cam_xmat[index].reshape(3, 3).copy()
        return Viewpoint(position, rotation, float(np.deg2rad(self.parts.model.cam_fovy[index])))

    def place(self, joints: np.ndarray, objects: Mapping[str, Placement], cloth: ClothPlacement | None = None) -> None:
        """Put the arm, its gripper open, and objects into place; the others float, asleep, where no camera looks."""
        mujoco.mj_resetData(self.parts.model, self.data)
        self._finger_goal = self._table.arm.finger_open
        self.data.qpos[self.parts.arm_dofs] = joints
        self.data.qpos[self.parts.finger_dofs] = self._finger_goal
        self.data.ctrl[:] = [*joints, self._finger_goal]
        for index, name in enumerate(self._names):
            self.parts.model.body_gravcomp[self.parts.object_bodies[index]] = name not in objects
            self._set_pose(name, objects.get(name, Placement(PARKED + np.array([0, 0.3 * index, 0]), np.eye(3))))
        if self.cloth is not None:
            self.cloth.place(cloth)
        mujoco.mj_forward(self.parts.model, self.data)

    def put_into_hand(self, name: str, lying: np.ndarray, offset: np.ndarray) -> None:
        """Set an object between the fingers, across its narrow side, and let them close on it."""
        rotation, width = between_pads(self._table.category(name).shapes, lying, self.yaw)
        hand = rotation_from_rpy(0.0, 0.0, self.yaw)
        self.parts.model.body_gravcomp[self._body(name)] = 0.0
        self._set_pose(name, Placement(self.tip_position + hand @ offset, rotation))
        self._close_around(width)

    def put_cloth_into_hand(self, cloth: ClothPlacement, above: float) -> None:
        """Hang the cloth by its fold between the fingers and let them close on it."""
        top = self.tip_position + np.array([0.0, 0.0, above])
        # The fingers close along the hand's y axis, across the fold.
        self._the_cloth.hang(cloth.rest, top, self.yaw + np.pi / 2)
        self._close_around(2 * self._the_cloth.thickness)

    def _close_around(self, width: float) -> None:
        """Close the fingers from just beside what is that wide, m."""
        self.data.qpos[self.parts.finger_dofs] = min(width / 2 + GRASP_GAP, self._finger_goal)
        self._finger_goal = 0.0
        self.data.ctrl[-1] = self._finger_goal

    def settle(self, grasping: bool) -> None:
        """Let a second pass, or what of it is needed until nothing moves but the arm and what it holds."""
        for step in range(SETTLE_STEPS):
            mujoco.mj_step(self.parts.model, self.data)
            if self.data.ntree_awake <= 1 + grasping and step >= GRASP_STEPS * grasping:
                break
        self.stamp += SETTLE_STEPS * TIME_STEP_NS
        mujoco.mj_forward(self.parts.model, self.data)

    def motion(self, arm: Trajectory, gripper: Trajectory) -> Iterator[None]:
        """Carry out two trajectories; hand control back after each simulated 4 ms.

        Like a real arm's collision reflex: when contacts load a joint too much, the arm backs off a little and waits
        for the trajectory to end.

        Args:
            arm: Of the seven joints, rad; starts where they are.
            gripper: Of the finger joint, m; starts where it was last commanded to be, so that a grip stays firm.

        Raises:
            DivergedError: The physics diverged; the state is of no use until the next reset.
        """
        times = np.arange(1, max(1, round(arm.duration * 1e9 / TIME_STEP_NS)) + 1) * (TIME_STEP_NS / 1e9)
        positions, velocities = arm.sample(self.joint_positions, times)
        fingers, _ = gripper.sample(np.array([self._finger_goal]), times)
        self._finger_goal = float(fingers[-1, 0])
        references = positions + SERVO_LEAD * velocities
        # A grip may press already; only what is added trips the reflex.
        limit = np.maximum(REFLEX_TORQUE, 1.05 * self._outside_torque())
        controls = np.hstack([references, fingers])
        model, data = self.parts.model, self.data
        for index, control in enumerate(controls):
            if (self._outside_torque() > limit).any():
                controls[index:, :-1] = positions[max(0, index - BACK_OFF_STEPS)]
                limit = np.full_like(limit, np.inf)
            data.ctrl[:] = control
            mujoco.mj_step(model, data)
            self.stamp += TIME_STEP_NS
            yield
        mujoco.mj_forward(self.parts.model, self.data)
        if any(self.data.warning[kind].number for kind in _DIVERGED):
            raise DivergedError('the physics diverged; reset the cell')

    def bodies(self, name: str) -> list[Body]:
        """Return the rigid parts of an object, or of the cloth, where they are."""
        cloth = self._cloth_called(name)
        return cloth.strips if cloth else [self.body(name)]

    def body(self, name: str) -> Body:
        """Return a rigid object where it is."""
        index = self._body(name)
        rotation = self.data.xmat[index].reshape(3, 3).copy()
        return Body(self._table.category(name).shapes, self.data.xpos[index].copy(), rotation)

    def position(self, name: str) -> np.ndarray:
        """Return the middle of an object, or the cloth's centre of mass, `(3,)` m."""
        cloth = self._cloth_called(name)
        return cloth.position if cloth else self.data.xpos[self._body(name)].copy()

    def touching(self, name: str) -> set[str]:
        """Return the links of the gripper that touch an object or the cloth."""
        bodies, cloth = self.parts.model.geom_bodyid[self.data.contact.geom], self._cloth_called(name)
        own = np.isin(bodies, cloth.bodies if cloth else self._body(name))
        beside = np.concatenate([bodies[own[:, 0], 1], bodies[own[:, 1], 0]])
        links = zip(self.parts.touching_bodies.tolist(), self._table.arm.touching_links, strict=True)
        return {link for index, link in links if index in beside}

    def fold(self) -> tuple[np.ndarray, float]:
        """Return the middle of the cloth's highest hinge, `(3,)` m, and its direction, rad about the vertical."""
        return self._the_cloth.fold

    def is_covered(self, name: str) -> bool:
        """Return whether the cloth lies over an object's middle, seen from above."""
        return self.cloth is not None and name in self._names and self.cloth.lies_over(self.position(name))

    def on_plate(self, name: str) -> np.ndarray:
        """Return x and y `(2,)`, m, of the centre of mass of an object or the cloth in the plate's frame."""
        plate, cloth = self.parts.plate_body, self._cloth_called(name)
        centre = cloth.position if cloth else self.data.xipos[self._body(name)]
        return (self.data.xmat[plate].reshape(3, 3).T @ (centre - self.data.xpos[plate]))[:2]

    @property
    def _the_cloth(self) -> ClothState:
        if self.cloth is None:
            raise SimulationError('the cell has no cloth')
        return self.cloth

    def _cloth_called(self, name: str) -> ClothState | None:
        return self.cloth if self._table.cloth is not None and name == self._table.cloth.name else None

    def _body(self, name: str) -> int:
        return int(self.parts.object_bodies[self._names.index(name)])

    def _set_pose(self, name: str, place: Placement) -> None:
        start = self.parts.object_qpos[self._names.index(name)]
        self.data.qpos[start : start + 3] = place.position
        mujoco.mju_mat2Quat(self.data.qpos[start + 3 : start + 7], place.rotation.ravel())

    def _outside_torque(self) -> np.ndarray:
        """Return what contacts load the arm's joints with, `(7,)` N m."""
        return np.abs(self.data.qfrc_constraint[self.parts.arm_dofs])

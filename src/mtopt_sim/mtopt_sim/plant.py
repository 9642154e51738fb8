"""What the cell needs of a simulator, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from mtopt_core.trajectory import Trajectory
from mtopt_core.viewpoint import Viewpoint
from mtopt_sim.cloth import ClothPlacement
from mtopt_sim.grasping import Body
from mtopt_sim.scene import Placement, Scene


class Plant(Protocol):
    """Arm, objects, cameras and their physics. The clock starts above zero and never goes back."""

    @property
    def stamp(self) -> int:
        """The clock, ns."""

    @property
    def tick(self) -> int:
        """Simulated time between two times that `motion` hands control back, ns."""

    @property
    def joint_positions(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad."""

    @property
    def joint_velocities(self) -> np.ndarray:
        """Arm joints base to tip, `(7,)` rad/s."""

    @property
    def gripper_width(self) -> float:
        """Gap between the fingers, m."""

    @property
    def gripper_closed(self) -> bool:
        """Whether the last gripper command was close."""

    @property
    def tip_position(self) -> np.ndarray:
        """Gripper tip in the base frame, `(3,)` m."""

    @property
    def yaw(self) -> float:
        """Gripper's rotation about the vertical, rad."""

    def close(self) -> None:
        """Free what rendering and physics hold."""

    def dress(self, scene: Scene) -> None:
        """Give everything a scene's looks, and put the plate and the cameras where it has them."""

    def place(self, joints: np.ndarray, objects: Mapping[str, Placement], cloth: ClothPlacement | None = None) -> None:
        """Put the arm, its gripper open, and objects into place, at rest; the others are out of sight and reach."""

    def put_into_hand(self, name: str, lying: np.ndarray, offset: np.ndarray) -> None:
        """Set an object between the fingers, across its narrow side, and let them close on it.

        Args:
            name: Category.
            lying: How it lies, `(3, 3)`; it is turned about the vertical to fit.
            offset: Of its origin from the tip, `(3,)` m: along the pads, across them, up.
        """

    def put_cloth_into_hand(self, cloth: ClothPlacement, above: float) -> None:
        """Hang the cloth by its fold between the fingers and let them close on it.

        Args:
            cloth: How it is creased.
            above: Height of the fold's top over the tip, m.

        Raises:
            SimulationError: The cell has no cloth.
        """

    def settle(self, grasping: bool) -> None:
        """Let time pass until nothing moves but the arm and what it holds, or for a second."""

    def motion(self, arm: Trajectory, gripper: Trajectory) -> Iterator[None]:
        """Carry out two trajectories; takes exactly the arm's time, and hands control back after each `tick`.

        Args:
            arm: Of the seven joints, rad; starts where they are.
            gripper: Of the finger joint, m; starts where it was last commanded to be, so that a grip stays firm.

        Raises:
            SimulationError: The physics diverged, or the simulator is gone; the state is of no use until the next
                reset.
        """

    def bodies(self, name: str) -> list[Body]:
        """Return the rigid parts of an object, or of the cloth, where they are."""

    def body(self, name: str) -> Body:
        """Return a rigid object where it is."""

    def position(self, name: str) -> np.ndarray:
        """Return the middle of an object, or the cloth's centre of mass, `(3,)` m."""

    def touching(self, name: str) -> set[str]:
        """Return the links of the gripper that touch an object or the cloth."""

    def fold(self) -> tuple[np.ndarray, float]:
        """Return the middle of the cloth's highest hinge, `(3,)` m, and its direction, rad about the vertical.

        Raises:
            SimulationError: The cell has no cloth.
        """

    def is_covered(self, name: str) -> bool:
        """Return whether the cloth lies over an object's middle, seen from above."""

    def on_plate(self, name: str) -> np.ndarray:
        """Return x and y `(2,)`, m, of the centre of mass of an object or the cloth in the plate's frame."""

    def render(self, camera: str, size: int) -> np.ndarray:
        """Return what a camera sees, `(S, S, 3) uint8`.

        Raises:
            SimulationError: The simulator has no such picture.
        """

    def viewpoint(self, camera: str) -> Viewpoint:
        """Return from where a camera really looks."""

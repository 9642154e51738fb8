"""Makes a spent scene practisable again with the robot's own skills: put back, stir, home (paper section VI).

What was placed in the left bin is picked there and dropped into the right one; then the right bin is stirred with the
closed fingers, which brings objects out of its corners; then the arm goes home. A budget bounds all of it. Where the
robot cannot help itself, a person is told what is the matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mtopt_core.description.cell_table import LEFT_BIN, RIGHT_BIN, start_pose
from mtopt_core.description.parts import CellTable
from mtopt_core.errors import MtoptError
from mtopt_core.workspace import inner_bounds

DROP_HEIGHT = 0.12  # m of the tip above the bin's bottom
STIR_HEIGHT = 0.03
STROKE_STEPS = 4


class StuckError(MtoptError):
    """The robot cannot make the cell ready; the message tells a person what is the matter."""


class ArmBlockedError(MtoptError):
    """The arm did not get to where it was told to go."""


class Hands(Protocol):
    """What tidying needs of the robot. Positions in m, base frame; yaw in rad."""

    def move(self, position: np.ndarray, yaw: float, gripper: str) -> Awaitable[None]:
        """Move the tip `(3,)`, after the gripper was told to `open`, `close` or `keep`.

        Raises:
            ArmBlockedError: It did not get there.
        """

    def pick(self, seed: int) -> Awaitable[bool]:
        """Run the lift skill where the hand is; returns whether something is in the hand."""

    def step(self, displacement: np.ndarray) -> Awaitable[None]:
        """Displace the tip by one step `(3,)`, within all limits."""

    def seconds(self) -> float:
        """Return steady time, s."""


@dataclass(frozen=True)
class Budget:
    """How much tidying may cost.

    Attributes:
        seconds: Of wall time for all of it.
        misses: Picks in a row without success after which a bin is taken for empty.
        strokes: Of the closed fingers through the right bin.
        retries: Of a move whose way was blocked.
    """

    seconds: float = 600.0
    misses: int = 4
    strokes: int = 6
    retries: int = 2


class Tidying:
    """Tidies one cell.

    Args:
        hands: The robot.
        table: The bins.
        budget: What it may cost.
        progress: Told what is being done.
    """

    def __init__(self, hands: Hands, table: CellTable, budget: Budget, progress: Callable[[str], None]) -> None:
        self._hands = hands
        self._table = table
        self._budget = budget
        self._progress = progress

    async def run(self, rng: np.random.Generator) -> int:
        """Tidy; returns how many objects were put back.

        Raises:
            StuckError: The arm is blocked, the time is over, or there is nothing to grasp in either bin.
        """
        self._end = self._hands.seconds() + self._budget.seconds
        returned = await self._put_back(rng)
        await self._stir(rng)
        if not returned and not await self._anything_graspable(rng):
            raise StuckError(
                f'{2 * self._budget.misses} picks in both bins brought nothing up, nor did stirring help: put every '
                'object back into the right bin, also what lies outside the bins, and look whether the gripper grips'
            )
        return returned

    async def _put_back(self, rng: np.random.Generator) -> int:
        returned = misses = 0
        while misses < self._budget.misses:
            self._progress(f'putting back what is in the left bin, {returned} so far')
            if await self._pick(LEFT_BIN, rng):
                await self._drop(rng)
                returned, misses = returned + 1, 0
            else:
                misses += 1
        return returned

    async def _anything_graspable(self, rng: np.random.Generator) -> bool:
        for number in range(self._budget.misses):
            self._progress(f'trying whether anything can be grasped, pick {number + 1}')
            if await self._pick(RIGHT_BIN, rng):
                await self._drop(rng)
                return True
        return False

    async def _pick(self, region: str, rng: np.random.Generator) -> bool:
        position, yaw = start_pose(region, rng, self._table)
        await self._move(position, yaw, 'open')
        return await self._hands.pick(int(rng.integers(2**31)))

    async def _drop(self, rng: np.random.Generator) -> None:
        position, yaw = start_pose(RIGHT_BIN, rng, self._table)
        position[2] = DROP_HEIGHT
        await self._move(position, yaw, 'keep')
        await self._move(position, yaw, 'open')

    async def _stir(self, rng: np.random.Generator) -> None:
        """Draw the closed fingers through the right bin, each stroke from a random place towards the middle."""
        centre = self._table.bin(RIGHT_BIN).centre
        for number in range(self._budget.strokes):
            self._progress(f'stirring the right bin, stroke {number + 1} of {self._budget.strokes}')
            position, _ = start_pose(RIGHT_BIN, rng, self._table)
            # At that height a move's goal keeps the open fingers, too, off the walls.
            position[:2] = np.clip(position[:2], *inner_bounds(self._table.bin(RIGHT_BIN), (0.0,)))
            position[2] = STIR_HEIGHT
            await self._move(position, 0.0, 'close')
            stroke = 2 * (centre - position[:2]) / STROKE_STEPS
            for _ in range(STROKE_STEPS):
                await self._hands.step(np.array([*stroke, 0.0]))
        await self._move(np.array([*centre, self._lift_height()]), 0.0, 'open')

    def _lift_height(self) -> float:
        return max(one.wall_height for one in self._table.bins) + DROP_HEIGHT

    async def _move(self, position: np.ndarray, yaw: float, gripper: str) -> None:
        for attempt in range(self._budget.retries + 1):
            if self._hands.seconds() > self._end:
                raise StuckError(
                    f'making the cell ready took longer than {self._budget.seconds:g} s; put the objects back into the '
                    'right bin and mix them'
                )
            try:
                await self._hands.move(position, yaw, gripper)
            except ArmBlockedError as error:
                if attempt == self._budget.retries:
                    raise StuckError(f'the arm is blocked: {error}') from None
                # What it presses on may give way when it comes from above.
                await self._hands.step(np.array([0.0, 0.0, 0.1]))
            else:
                return

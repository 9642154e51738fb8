"""The action space (paper section IV-A) and how an action becomes the network's 8 numbers; the state's numbers.

Two settings. `full` is the paper's: displacement in the base frame, open, close and terminate learned. `eased` learns
on one machine in minutes: displacement in the gripper's frame (the wrist camera's), the finishing choice (close when
lifting, open when placing) happens in place, is followed by a scripted ending and ends the decisions.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Action, Episode, Observation, Source
from mtopt_core.errors import ConfigurationError

DIMENSIONS = 8
CONTINUOUS = 4

StateInput = Literal['gripper_closed', 'height_to_bottom', 'gripper_width']
STATE: tuple[StateInput, ...] = get_args(StateInput)
"""What is known of the robot, in the order of `encode_state`; a network is given some of it."""


class Choice(IntEnum):
    """The discrete part of an action: at most one of the paper's three binaries is set."""

    MOVE = 0
    CLOSE = 1
    OPEN = 2
    TERMINATE = 3


NO_DECISIONS = (Source.ENDING, Source.REFLEX)
"""Sources of actions that follow from the one before; nobody chose them."""

FINISHING = {'lift': Choice.CLOSE, 'place': Choice.OPEN, 'cover': Choice.OPEN}
ENDING_STEPS = {'lift': 2, 'place': 1, 'cover': 1}


class ActionSpace(BaseModel):
    """What the policy may do; part of a policy's manifest.

    An encoded action is `(dx, dy, dz, sin, cos, close, open, terminate)`: displacement in units of
    `max_displacement`, sine and cosine of the yaw change, three binaries.

    Attributes:
        frame: Frame of the displacement; `gripper` is turned by the gripper's yaw.
        finish_in_place: The skill's finishing choice moves nothing.
        scripted_ending: The finishing choice is the last decision, a script moves up and ends the episode.
        learned_terminate: Terminate is a choice of the policy.
        max_displacement: Largest displacement per axis, m.
        max_yaw_change: Largest turn, rad.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    frame: Literal['base', 'gripper']
    finish_in_place: bool
    scripted_ending: bool
    learned_terminate: bool
    max_displacement: float
    max_yaw_change: float

    @classmethod
    def full(cls, step: StepConfiguration) -> ActionSpace:
        """Return the paper's action space."""
        return cls(
            frame='base',
            finish_in_place=False,
            scripted_ending=False,
            learned_terminate=True,
            max_displacement=step.max_displacement,
            max_yaw_change=step.max_yaw_change,
        )

    @classmethod
    def eased(cls, step: StepConfiguration) -> ActionSpace:
        """Return the action space that made learning fast."""
        return cls(
            frame='gripper',
            finish_in_place=True,
            scripted_ending=True,
            learned_terminate=False,
            max_displacement=step.max_displacement,
            max_yaw_change=step.max_yaw_change,
        )

    def choices(self, skill: str, gripper_closed: bool) -> np.ndarray:
        """Return which of the four choices are allowed, `(4,) bool`.

        Only choices that the data can hold: Q of a choice nobody ever made is arbitrary, and CEM would find it.

        Raises:
            ConfigurationError: The action space has a scripted ending, but none is known for the skill.
        """
        allowed = np.zeros(len(Choice), bool)
        allowed[Choice.MOVE] = True
        if self.scripted_ending:
            allowed[finishing_choice(skill)] = True
        else:
            allowed[Choice.OPEN if gripper_closed else Choice.CLOSE] = True
        allowed[Choice.TERMINATE] = self.learned_terminate
        return allowed

    @property
    def still(self) -> tuple[bool, ...]:
        """Whether each choice moves nothing, so that there is only one such action."""
        return (False, self.finish_in_place, self.finish_in_place, True)

    def assemble(self, continuous: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
        """Build encoded actions `(..., 8)` that satisfy the action space.

        Args:
            continuous: `(..., 4)` displacement and yaw change, each in [-1, 1] of its limit.
            choice: `(...) int64`, values of `Choice`.
        """
        moving = ~torch.tensor(self.still, device=choice.device)[choice]
        continuous = self.confine(continuous) * moving[..., None]
        yaw = continuous[..., 3:] * self.max_yaw_change
        binaries = torch.nn.functional.one_hot(choice, len(Choice))[..., 1:].to(continuous.dtype)
        return torch.cat([continuous[..., :3], yaw.sin(), yaw.cos(), binaries], -1)

    def confine(self, continuous: torch.Tensor) -> torch.Tensor:
        """Clip `(..., 4)` to [-1, 1]; in the gripper's frame horizontally to the unit disc.

        A disc keeps within the limits per axis of the base frame however the gripper is turned.
        """
        continuous = continuous.clamp(-1, 1)
        if self.frame == 'gripper':
            radius = continuous[..., :2].norm(dim=-1, keepdim=True).clamp(min=1)
            continuous = torch.cat([continuous[..., :2] / radius, continuous[..., 2:]], -1)
        return continuous

    def encode(self, action: Action, observation: Observation) -> np.ndarray:
        """Return the action taken on an observation as the network sees it, `(8,) float32`."""
        displacement = self._turned(np.asarray(action.displacement, float), -observation.yaw) / self.max_displacement
        yaw, choice = action.yaw_change, choice_of(action)
        if self.still[choice]:
            displacement, yaw = np.zeros(3), 0.0
        binaries = [choice == Choice.CLOSE, choice == Choice.OPEN, choice == Choice.TERMINATE]
        return np.array([*displacement, np.sin(yaw), np.cos(yaw), *binaries], np.float32)

    def decode(
        self, vector: np.ndarray, observation: Observation, source: Source = Source.LEARNED, q_value: float = np.nan
    ) -> Action:
        """Return the action, in the base frame, of an encoded one `(8,)`; the inverse of `encode`."""
        return Action(
            displacement=self._turned(vector[:3].astype(float) * self.max_displacement, observation.yaw),
            yaw_change=float(np.arctan2(vector[3], vector[4])),
            close_gripper=bool(vector[5]),
            open_gripper=bool(vector[6]),
            terminate=bool(vector[7]),
            source=source,
            q_value=q_value,
        )

    def ending(self, skill: str) -> tuple[Action, ...]:
        """Return what follows the finishing choice, the last of it terminating; empty without a scripted ending."""
        if not self.scripted_ending:
            return ()
        up = Action(np.array([0, 0, self.max_displacement]), source=Source.ENDING)
        return (*[up] * ENDING_STEPS[skill], Action(terminate=True, source=Source.ENDING))

    def finishes(self, action: Action, skill: str) -> bool:
        """Whether an action is the last decision of its episode."""
        return action.terminate or (self.scripted_ending and choice_of(action) == finishing_choice(skill))

    def _turned(self, displacement: np.ndarray, yaw: float) -> np.ndarray:
        if self.frame == 'base':
            return displacement
        x, y, z = displacement
        return np.array([np.cos(yaw) * x - np.sin(yaw) * y, np.sin(yaw) * x + np.cos(yaw) * y, z])


def choice_of(action: Action) -> Choice:
    """Return the discrete part of an action."""
    if action.terminate:
        return Choice.TERMINATE
    if action.close_gripper:
        return Choice.CLOSE
    return Choice.OPEN if action.open_gripper else Choice.MOVE


def encode_state(observation: Observation) -> np.ndarray:
    """Return `STATE` of an observation: gripper_closed is 0 or 1, the others in m; `(3,) float32`."""
    return np.array([getattr(observation, name) for name in STATE], np.float32)


def finishing_choice(skill: str) -> Choice:
    """Return the choice that completes a skill.

    Raises:
        ConfigurationError: None is known for the skill.
    """
    if skill not in FINISHING:
        raise ConfigurationError(
            f'skill {skill!r} has no finishing choice, known: {", ".join(FINISHING)}; use the full action space'
        )
    return FINISHING[skill]


def decisions(episode: Episode, action_space: ActionSpace) -> list[int]:
    """Return the indices of an episode's decisions; the last one's transition is terminal.

    A reflex and a scripted ending are no decisions, nor is anything after the choice that finishes the episode in this
    action space.
    """
    indices = []
    for index, step in enumerate(episode.steps):
        if step.action.source in NO_DECISIONS:
            continue
        indices.append(index)
        if action_space.finishes(step.action, episode.info.skill):
            break
    return indices

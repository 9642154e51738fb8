"""The typed description of an episode: what was seen, what was done, what came of it."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np


class Source(IntEnum):
    """Who decided an action; numbers as in mtopt_msgs/Action."""

    SCRIPTED = 0
    LEARNED = 1
    ENDING = 2
    REFLEX = 3


class Termination(IntEnum):
    """Why an episode ended; numbers as in mtopt_msgs/EpisodeInfo."""

    NONE = 0
    TERMINATE = 1
    STEP_LIMIT = 2
    SCRIPTED_ENDING = 3
    ABORTED = 4
    STUCK = 5


class Verdict(IntEnum):
    """Whether a task is solved in the final image; numbers as in mtopt_msgs/TaskOutcome."""

    FAILURE = 0
    SUCCESS = 1
    UNSURE = 2


@dataclass(frozen=True)
class Action:
    """One decision (paper section IV-A).

    Attributes:
        displacement: `(3,) float`, m, of the gripper tip in the base frame.
        yaw_change: rad, about the vertical.
        close_gripper: Close the fingers.
        open_gripper: Open the fingers.
        terminate: End the episode; nothing moves.
        source: Who decided.
        q_value: Q of this action in [0, 1], NaN where no Q-function was asked.
    """

    displacement: np.ndarray = field(default_factory=lambda: np.zeros(3))
    yaw_change: float = 0.0
    close_gripper: bool = False
    open_gripper: bool = False
    terminate: bool = False
    source: Source = Source.SCRIPTED
    q_value: float = math.nan


@dataclass(frozen=True)
class Observation:
    """What the policy decides on.

    Attributes:
        stamp: Oldest stamp paired, ns.
        images: JPEG bytes by camera name; a camera may be missing (simulated bags show side views at the end only).
        joint_positions: `(7,) float64`, rad.
        tip_position: `(3,) float64`, m, base frame.
        yaw: Rotation of the gripper about the vertical, rad.
        gripper_closed: Last gripper command was close.
        gripper_width: m between the fingers.
        height_to_bottom: m from the tip to the bottom of the bin.
    """

    stamp: int
    images: dict[str, bytes]
    joint_positions: np.ndarray
    tip_position: np.ndarray
    yaw: float
    gripper_closed: bool
    gripper_width: float
    height_to_bottom: float


@dataclass(frozen=True)
class EpisodeInfo:
    """What an episode is; fields as in mtopt_msgs/EpisodeInfo, `stamp` in ns."""

    episode_id: str
    robot: str
    task: str
    skill: str
    policy: str
    model_version: str = ''
    previous_episode_id: str = ''
    seed: int = 0
    scene_seed: int = -1
    simulated: bool = False
    steps: int = 0
    termination: Termination = Termination.NONE
    message: str = ''
    configuration: str = '{}'
    stamp: int = 0


@dataclass(frozen=True)
class Step:
    """An observation and the action decided on it."""

    observation: Observation
    action: Action


@dataclass(frozen=True)
class Episode:
    """A whole episode: its steps in order and the observation after the last one."""

    info: EpisodeInfo
    steps: tuple[Step, ...]
    final: Observation


@dataclass(frozen=True)
class Outcome:
    """One task's outcome in one episode.

    Attributes:
        task: Name of the task.
        verdict: Failure, success or unsure.
        probability: p(success) in [0, 1].
    """

    task: str
    verdict: Verdict
    probability: float


def time_of(episode_id: str) -> datetime | None:
    """Return when an episode was recorded by its id, None for an id of another form than `new_episode_id`'s."""
    try:
        return datetime.strptime(episode_id[:15], '%Y%m%dT%H%M%S').replace(tzinfo=UTC)
    except ValueError:
        return None


def new_episode_id(robot: str) -> str:
    """Return a unique, sortable episode id: UTC time, robot, random suffix."""
    return f'{time.strftime("%Y%m%dT%H%M%S", time.gmtime())}_{robot}_{secrets.token_hex(4)}'

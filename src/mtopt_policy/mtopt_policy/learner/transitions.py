"""An episode as transitions (s, a, s'): what the learner keeps of a bag (paper section IV-A).

The reward is not kept: it depends on the task an episode is used for (paper section V), and is 0 before the last
transition. Nor is s': it is the state of the following row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from mtopt_core.episode import Episode, Step, Termination
from mtopt_core.episode_bag import read_named_episode
from mtopt_core.errors import BagError, BagUnreachableError, ConfigurationError, ImageError
from mtopt_core.images import crop_resize, decode_jpeg, decode_square, encode_jpeg
from mtopt_policy.action_space import DIMENSIONS, STATE, ActionSpace, decisions, encode_state

RAW_UP_TO = 128
"""Side of images kept as pixels, px: above it decoding costs less than what the pixels take on disk and in memory."""
JPEG_QUALITY = 95


class StoreLayout(BaseModel):
    """What a stored transition looks like; another layout is another store.

    Attributes:
        views: Cameras the policy sees, in the network's order.
        image_size: Side of the square images, px.
        action_space: How actions are encoded and which steps are decisions.
        shard_rows: Transitions in a shard.
        format: Rises when the store's files change.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    views: tuple[str, ...]
    image_size: int
    action_space: ActionSpace
    shard_rows: int = 65536
    format: Literal[3] = 3

    @property
    def key(self) -> str:
        """A name for the folder of a store of this layout."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def record(self) -> np.dtype:
        """The fixed part of a transition.

        `remaining` counts the decisions that followed in the episode, 0 for the last one; `images` are byte offsets:
        where each view's image starts, and the end.
        """
        return np.dtype(
            [
                ('action', np.float32, DIMENSIONS),
                ('state', np.float32, len(STATE)),
                ('remaining', np.int32),
                ('images', np.int64, len(self.views) + 1),
            ],
            align=True,
        )

    def pack(self, jpeg: bytes) -> bytes:
        """Return a recorded image as it is stored.

        Images of other sizes and proportions are cut square and resized, smaller ones enlarged, as they are for the
        policy that acts.

        Raises:
            ImageError: It cannot be decoded.
        """
        size = self.image_size
        if size <= RAW_UP_TO:
            return decode_square(jpeg, size).tobytes()
        rgb = decode_jpeg(jpeg)
        return jpeg if rgb.shape[:2] == (size, size) else encode_jpeg(crop_resize(rgb, size), JPEG_QUALITY)

    def unpack(self, stored: np.ndarray) -> np.ndarray:
        """Return a stored image, `(n,) uint8`, as `(S, S, 3) uint8` RGB."""
        size = self.image_size
        return stored.reshape(size, size, 3) if size <= RAW_UP_TO else decode_jpeg(stored.tobytes())


@dataclass(frozen=True)
class EpisodeTransitions:
    """One episode, ready to be stored.

    Attributes:
        episode_id: Its id.
        task: Task it was collected for.
        records: `(n,)` of `StoreLayout.record`; image offsets count from the start of `images`.
        images: The packed images one after another.
        unusable: Why the learner cannot use it; there are no records then.
    """

    episode_id: str
    task: str
    records: np.ndarray
    images: bytes
    unusable: str = ''


@dataclass(frozen=True)
class Unreadable:
    """A bag that could not be read."""

    path: Path
    reason: str


def to_transitions(episode: Episode, layout: StoreLayout) -> EpisodeTransitions:
    """Turn an episode's decisions into transitions; the last one is terminal.

    An episode without a decision, or without one of the views, cannot be used. Neither can one that a fault or a
    cancel cut short: its last image is not what its last action led to.

    Raises:
        ImageError: An image is damaged.
    """
    task = episode.info.task
    try:
        steps = [episode.steps[index] for index in decisions(episode, layout.action_space)]
        unusable = _why_unusable(episode, steps, layout)
    except ConfigurationError as error:
        # The skill is somebody else's.
        unusable = str(error)
    if unusable:
        return EpisodeTransitions(episode.info.episode_id, task, np.empty(0, layout.record), b'', unusable)
    images = [[layout.pack(step.observation.images[view]) for view in layout.views] for step in steps]
    records = np.zeros(len(steps), layout.record)
    records['remaining'] = np.arange(len(steps))[::-1]
    records['action'] = [layout.action_space.encode(step.action, step.observation) for step in steps]
    records['state'] = [encode_state(step.observation) for step in steps]
    ends = np.cumsum([[len(image) for image in views] for views in images]).reshape(len(steps), -1)
    records['images'][:, 1:] = ends
    records['images'][1:, 0] = ends[:-1, -1]
    together = b''.join(image for views in images for image in views)
    return EpisodeTransitions(episode.info.episode_id, task, records, together)


def _why_unusable(episode: Episode, steps: Sequence[Step], layout: StoreLayout) -> str:
    """Return why nothing can be learned from an episode of these decisions; empty if something can."""
    missing = {view for step in steps for view in layout.views if view not in step.observation.images}
    if episode.info.termination == Termination.ABORTED:
        return 'it was aborted'
    if not steps:
        return 'it holds no decision'
    return f'it has no images of {", ".join(sorted(missing))}' if missing else ''


def read_transitions(path: Path, layout: StoreLayout) -> EpisodeTransitions | Unreadable | None:
    """Read a bag, none if it cannot be read now; what worker processes run, so an error is returned, not raised."""
    try:
        return to_transitions(read_named_episode(path), layout)
    except BagUnreachableError:
        return None
    except (BagError, ImageError) as error:
        return Unreadable(path, str(error))

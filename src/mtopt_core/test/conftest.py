from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Source, Step, Termination
from mtopt_core.images import encode_jpeg

SECOND = 10**9


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    """Return a maker of episodes whose every number is random, so that a mix-up shows."""
    generator = np.random.default_rng(0)

    def observation(stamp: int, cameras: tuple[str, ...], size: int) -> Observation:
        return Observation(
            stamp=stamp,
            images={name: encode_jpeg(generator.integers(0, 256, (size, size, 3), np.uint8), 90) for name in cameras},
            joint_positions=generator.normal(size=7),
            tip_position=generator.normal(size=3),
            yaw=float(np.float32(generator.normal())),
            gripper_closed=bool(generator.integers(2)),
            gripper_width=float(np.float32(generator.uniform(0, 0.08))),
            height_to_bottom=float(np.float32(generator.uniform(0, 0.3))),
        )

    def action() -> Action:
        return Action(
            displacement=generator.uniform(-0.1, 0.1, 3).astype(np.float32).astype(np.float64),
            yaw_change=float(np.float32(generator.uniform(-0.5, 0.5))),
            close_gripper=bool(generator.integers(2)),
            open_gripper=bool(generator.integers(2)),
            source=Source.LEARNED,
            q_value=float(np.float32(generator.uniform())),
        )

    def make(episode_id: str = '20261123T120000_robot1_00000001', steps: int = 3, size: int = 16) -> Episode:
        views = ('main', 'wrist')
        info = EpisodeInfo(
            episode_id=episode_id,
            robot='robot1',
            task='lift-can',
            skill='lift',
            policy='learned',
            model_version='20261101T000000_000400',
            previous_episode_id='20261123T115900_robot1_00000000',
            seed=7,
            scene_seed=9,
            simulated=True,
            steps=steps,
            termination=Termination.SCRIPTED_ENDING,
            configuration='{"step": {"duration": 0.5}}',
            stamp=(steps + 1) * SECOND // 2 + SECOND,
        )
        taken = tuple(
            Step(observation(SECOND + (number + 1) * SECOND // 2, views, size), action()) for number in range(steps)
        )
        return Episode(info, taken, observation(info.stamp, (*views, 'side_left', 'side_right'), size))

    return make


def _same(left: object, right: object) -> None:
    for name in left.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


@pytest.fixture
def assert_same_episode() -> Callable[[Episode, Episode], None]:
    def compare(left: Episode, right: Episode) -> None:
        assert left.info == right.info
        assert len(left.steps) == len(right.steps)
        for ours, theirs in zip(left.steps, right.steps, strict=True):
            _same(ours.observation, theirs.observation)
            _same(ours.action, theirs.action)
        _same(left.final, right.final)

    return compare

"""The cadence report: how fast and how complete the graph ran, from what the collector notes of every episode."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtopt_core.paths import DataFolder


def cadence_file(data: DataFolder) -> Path:
    """Return the file of a data folder's cadence, a line of JSON per episode."""
    return data.root / 'cadence.jsonl'


@dataclass(frozen=True)
class EpisodeCadence:
    """What one episode cost.

    Attributes:
        episode_id: The episode.
        policy: `scripted`, `learned` or `learned:<task>`.
        steps: Control steps.
        seconds: Wall time of the run.
        decision_time: s, median over the episode's decisions.
        image_age: s from an image's arrival to the observation that shows it; None where nobody knows.
        messages: Recorded.
        dropped: Lost by the recorder.
        robot: Who collected it; empty where nobody noted it.
        late_steps: Control steps that took longer than their declared period; None where nobody noted it.
        slowest_step: s; None where nobody noted it.
    """

    episode_id: str
    policy: str
    steps: int
    seconds: float
    decision_time: float
    image_age: float | None
    messages: int
    dropped: int
    robot: str = ''
    late_steps: int | None = None
    slowest_step: float | None = None


@dataclass(frozen=True)
class Cadence:
    """Episodes through the graph that have something in common.

    Attributes:
        name: What: the policy or the robot.
        episodes: Number of episodes.
        steps: Control steps.
        steps_per_second: Control steps per second of wall time, within episodes.
        step_times: Mean wall time of a step in each episode, s.
        decision_time: Median, s.
        decision_time_95: 95 % of the episodes' medians are below, s.
        image_age: Median, s; None where nobody knows.
        messages: Recorded.
        dropped: Lost by the recorder.
        late_steps: Steps that took longer than their declared period, of those of which it is known.
        timed_steps: Those of which it is known.
        slowest_step: s; None where nobody noted it.
    """

    name: str
    episodes: int
    steps: int
    steps_per_second: float
    step_times: tuple[float, ...]
    decision_time: float
    decision_time_95: float
    image_age: float | None
    messages: int
    dropped: int
    late_steps: int
    timed_steps: int
    slowest_step: float | None


def read_cadence(data: DataFolder) -> list[EpisodeCadence]:
    """Return every episode's cadence, in order of time; none where no graph has run.

    A line that a full disk or a power failure has torn is passed over: `damaged_lines` counts them.
    """
    return [episode for episode in _lines(data) if episode is not None]


def damaged_lines(data: DataFolder) -> int:
    """Return how many lines of a data folder's cadence cannot be read."""
    return sum(episode is None for episode in _lines(data))


def _lines(data: DataFolder) -> Iterator[EpisodeCadence | None]:
    """Return what each line says that is not empty; None for one that cannot be read."""
    path = cadence_file(data)
    if path.exists():
        yield from (_parsed(line) for line in path.read_text(errors='replace').splitlines() if line.strip())


def _parsed(line: str) -> EpisodeCadence | None:
    try:
        fields = json.loads(line)
        return EpisodeCadence(**{name: fields[name] for name in EpisodeCadence.__dataclass_fields__ if name in fields})
    except (ValueError, TypeError):
        return None


def by_policy(episode: EpisodeCadence) -> str:
    """Return whose policy acted."""
    return episode.policy


def by_robot(episode: EpisodeCadence) -> str:
    """Return who collected."""
    return episode.robot


def summarise(episodes: Iterable[EpisodeCadence], common: Callable[[EpisodeCadence], str] = by_policy) -> list[Cadence]:
    """Return the cadence of each policy or robot, in order of appearance; episodes without a step say nothing.

    Args:
        episodes: Any number.
        common: What those summed up together have in common, `by_policy` or `by_robot`.
    """
    together: dict[str, list[EpisodeCadence]] = {}
    for episode in episodes:
        if episode.steps:
            together.setdefault(common(episode), []).append(episode)
    return [_summary(name, found) for name, found in together.items()]


def _summary(name: str, episodes: list[EpisodeCadence]) -> Cadence:
    decisions = [episode.decision_time for episode in episodes]
    ages = [episode.image_age for episode in episodes if episode.image_age is not None]
    steps = sum(episode.steps for episode in episodes)
    timed = [episode for episode in episodes if episode.late_steps is not None]
    return Cadence(
        name=name,
        episodes=len(episodes),
        steps=steps,
        steps_per_second=steps / sum(episode.seconds for episode in episodes),
        step_times=tuple(episode.seconds / episode.steps for episode in episodes),
        decision_time=float(np.median(decisions)),
        decision_time_95=float(np.percentile(decisions, 95)),
        image_age=float(np.median(ages)) if ages else None,
        messages=sum(episode.messages for episode in episodes),
        dropped=sum(episode.dropped for episode in episodes),
        late_steps=sum(episode.late_steps or 0 for episode in timed),
        timed_steps=sum(episode.steps for episode in timed),
        slowest_step=max((episode.slowest_step or 0.0 for episode in timed), default=None),
    )

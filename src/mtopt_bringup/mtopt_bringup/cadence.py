"""The cadence report: how fast and how complete the graph ran, from what the collector notes of every episode."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtopt_collector.cadence import cadence_file
from mtopt_core.errors import MtoptError
from mtopt_core.paths import DataFolder


class CadenceError(MtoptError):
    """The file of cadences is damaged."""


@dataclass(frozen=True)
class EpisodeCadence:
    """What one episode cost.

    Attributes:
        episode_id: The episode.
        policy: `scripted` or `learned`.
        steps: Control steps.
        seconds: Wall time of the run.
        decision_time: s, median over the episode's decisions.
        image_age: s from an image's arrival to the observation that shows it; None where nobody knows.
        messages: Recorded.
        dropped: Lost by the recorder.
    """

    episode_id: str
    policy: str
    steps: int
    seconds: float
    decision_time: float
    image_age: float | None
    messages: int
    dropped: int


@dataclass(frozen=True)
class Cadence:
    """A policy's episodes through the graph.

    Attributes:
        policy: `scripted` or `learned`.
        episodes: Number of episodes.
        steps: Control steps.
        steps_per_second: Control steps per second of wall time, within episodes.
        step_times: Mean wall time of a step in each episode, s.
        decision_time: Median, s.
        decision_time_95: 95 % of the episodes' medians are below, s.
        image_age: Median, s; None where nobody knows.
        messages: Recorded.
        dropped: Lost by the recorder.
    """

    policy: str
    episodes: int
    steps: int
    steps_per_second: float
    step_times: tuple[float, ...]
    decision_time: float
    decision_time_95: float
    image_age: float | None
    messages: int
    dropped: int


def read_cadence(data: DataFolder) -> list[EpisodeCadence]:
    """Return every episode's cadence, in order of time; none where no graph has run.

    Raises:
        CadenceError: The file is damaged.
    """
    path = cadence_file(data)
    if not path.exists():
        return []
    return [_parsed(line, path, number) for number, line in enumerate(path.read_text().splitlines(), 1) if line.strip()]


def _parsed(line: str, path: Path, number: int) -> EpisodeCadence:
    try:
        fields = json.loads(line)
        return EpisodeCadence(**{name: fields[name] for name in EpisodeCadence.__dataclass_fields__})
    except (ValueError, KeyError, TypeError) as error:
        raise CadenceError(f'{path}, line {number}: {error}; remove the line') from None


def summarise(episodes: Iterable[EpisodeCadence]) -> list[Cadence]:
    """Return each policy's cadence, in order of appearance; episodes without a step say nothing."""
    by_policy: dict[str, list[EpisodeCadence]] = {}
    for episode in episodes:
        if episode.steps:
            by_policy.setdefault(episode.policy, []).append(episode)
    return [_summary(policy, found) for policy, found in by_policy.items()]


def _summary(policy: str, episodes: list[EpisodeCadence]) -> Cadence:
    decisions = [episode.decision_time for episode in episodes]
    ages = [episode.image_age for episode in episodes if episode.image_age is not None]
    steps = sum(episode.steps for episode in episodes)
    return Cadence(
        policy=policy,
        episodes=len(episodes),
        steps=steps,
        steps_per_second=steps / sum(episode.seconds for episode in episodes),
        step_times=tuple(episode.seconds / episode.steps for episode in episodes),
        decision_time=float(np.median(decisions)),
        decision_time_95=float(np.percentile(decisions, 95)),
        image_age=float(np.median(ages)) if ages else None,
        messages=sum(episode.messages for episode in episodes),
        dropped=sum(episode.dropped for episode in episodes),
    )

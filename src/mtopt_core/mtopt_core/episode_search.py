"""Pages of episodes for people who look through tens of thousands: filtered, newest first, with what is said of them.

Catalogue and label store are joined by SQLite, so that a page costs milliseconds however many episodes there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from mtopt_core.catalogue import Catalogue
from mtopt_core.episode import Outcome, Termination, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.label_journal import HumanLabel
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder

OWN_TASK = ''
"""In a filter: every episode is judged for the task it attempted."""


class Judged(StrEnum):
    """What is said of an episode so far."""

    ANY = 'any'
    UNLABELLED = 'unlabelled'
    LABELLED = 'labelled'
    SUCCESS = 'success'
    FAILURE = 'failure'
    UNSURE = 'unsure'
    DETECTOR_SUCCESS = 'detector: success'
    DETECTOR_FAILURE = 'detector: failure'
    DETECTOR_UNSURE = 'detector: unsure'
    DISAGREEMENT = 'person and detector disagree'


_CONDITIONS = {
    Judged.ANY: '1',
    Judged.UNLABELLED: 'h.verdict IS NULL',
    Judged.LABELLED: 'h.verdict IS NOT NULL',
    Judged.SUCCESS: f'h.verdict = {Verdict.SUCCESS:d}',
    Judged.FAILURE: f'h.verdict = {Verdict.FAILURE:d}',
    Judged.UNSURE: f'h.verdict = {Verdict.UNSURE:d}',
    Judged.DETECTOR_SUCCESS: f'd.verdict = {Verdict.SUCCESS:d}',
    Judged.DETECTOR_FAILURE: f'd.verdict = {Verdict.FAILURE:d}',
    Judged.DETECTOR_UNSURE: f'd.verdict = {Verdict.UNSURE:d}',
    Judged.DISAGREEMENT: f'h.verdict + d.verdict = {Verdict.SUCCESS + Verdict.FAILURE:d}',
}


@dataclass(frozen=True)
class EpisodeFilter:
    """Which episodes, and the task they are judged for.

    Attributes:
        judged_task: The task they are judged for; `OWN_TASK` for the one each attempted.
        task: Only those that attempted this task.
        skill: Only those of this skill.
        robot: Only those of this robot.
        policy: Only those of this policy: `scripted`, `learned` or a version of a learned one.
        first_day: Only those recorded on this day (UTC) or later.
        last_day: Only those recorded on this day (UTC) or before.
        judged: Only those of which this is said.
    """

    judged_task: str = OWN_TASK
    task: str | None = None
    skill: str | None = None
    robot: str | None = None
    policy: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    judged: Judged = Judged.ANY


@dataclass(frozen=True)
class FoundEpisode:
    """One episode of a page.

    Attributes:
        episode_id: Its id.
        robot: Namespace of the robot.
        task: Task attempted.
        policy: `scripted`, or `learned` with its version.
        steps: Actions in the bag.
        termination: Why it ended.
        judged_task: Task it is judged for.
        label: What a person says of it, None when nobody did.
        detected: What the newest detector says of it, None when none did.
    """

    episode_id: str
    robot: str
    task: str
    policy: str
    steps: int
    termination: Termination
    judged_task: str
    label: HumanLabel | None
    detected: Outcome | None


@dataclass(frozen=True)
class EpisodePage:
    """Some of the episodes a filter finds.

    Attributes:
        episodes: Newest first.
        before: How many are newer than these.
        total: How many there are.
    """

    episodes: tuple[FoundEpisode, ...]
    before: int
    total: int


@dataclass(frozen=True)
class Choices:
    """What there is to filter by: the names of robots and of policies."""

    robots: tuple[str, ...]
    policies: tuple[str, ...]


class EpisodeSearch:
    """Searches a data folder's catalogue, as of its last refresh. Threads and processes may share it."""

    def __init__(self, data: DataFolder) -> None:
        """Make both indexes when missing.

        Raises:
            BagError: The catalogue is damaged.
            LabelError: The label store is damaged.
        """
        self._data = data
        Catalogue(data).episodes(task='')
        LabelStore(data).close()

    def page(self, wanted: EpisodeFilter, size: int, after: str = '', up_to: str = '') -> EpisodePage:
        """Return a page: the newest episodes, those after one, or those up to one.

        A page is named by an episode rather than by a number, for episodes leave the filter while they are labelled.

        Args:
            wanted: Which.
            size: How many at most.
            after: Only those older than this episode.
            up_to: Only those newer than this episode, the last of them.

        Raises:
            LabelError: An index is damaged or held.
        """
        conditions, values = _conditions(wanted)
        place, order = '1', 'DESC'
        if after:
            place = 'e.episode_id < :place'
        elif up_to:
            place, order = 'e.episode_id > :place', 'ASC'
        values |= {'place': after or up_to, 'size': size}
        with self._index() as index:
            found = index.execute(
                f'SELECT {_COLUMNS} {_FROM} WHERE {conditions} AND {place} ORDER BY e.episode_id {order} LIMIT :size',
                values,
            ).fetchall()
            episodes = sorted(map(_episode, found), key=lambda one: one.episode_id, reverse=True)
            values['first'] = episodes[0].episode_id if episodes else after
            before, total = index.execute(
                f'SELECT coalesce(sum(e.episode_id > :first), 0), count(*) {_FROM} WHERE {conditions}',
                values,
            ).fetchone()
        return EpisodePage(tuple(episodes), before, total)

    def find(self, episode_ids: list[str], judged_task: str) -> list[FoundEpisode]:
        """Return episodes by their ids, in that order; those that are not in the catalogue are left out.

        Args:
            episode_ids: Which.
            judged_task: As in a filter.

        Raises:
            LabelError: An index is damaged or held.
        """
        marks = ', '.join(f':id{number}' for number in range(len(episode_ids)))
        values = {f'id{number}': episode_id for number, episode_id in enumerate(episode_ids)}
        with self._index() as index:
            found = index.execute(
                f'SELECT {_COLUMNS} {_FROM} WHERE e.episode_id IN ({marks})',  # only placeholders
                {**values, 'judged_task': judged_task},
            ).fetchall()
        known = {episode.episode_id: episode for episode in map(_episode, found)}
        return [known[episode_id] for episode_id in episode_ids if episode_id in known]

    def disputed(self, task: str, size: int) -> list[str]:
        """Return episodes, newest first, of which the two newest detectors say the opposite and nobody else anything.

        Args:
            task: The task judged.
            size: How many at most.

        Raises:
            LabelError: An index is damaged or held.
        """
        with self._index() as index:
            found = index.execute(_DISPUTED, {'task': task, 'size': size}).fetchall()
        return [episode_id for (episode_id,) in found]

    def choices(self) -> Choices:
        """Return what there is to filter by.

        Raises:
            LabelError: An index is damaged or held.
        """
        with self._index() as index:
            robots = index.execute('SELECT DISTINCT robot FROM episodes ORDER BY robot').fetchall()
            policies = index.execute(f'SELECT DISTINCT {_POLICY} AS name FROM episodes e ORDER BY name').fetchall()  # noqa: S608
        return Choices(tuple(robot for (robot,) in robots), tuple(policy for (policy,) in policies))

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._data.catalogue, timeout=10.0)) as index:
                index.execute('ATTACH ? AS labels', (str(self._data.labels),))
                yield index
        except sqlite3.Error as error:
            raise LabelError(
                f'episodes in {self._data.root} cannot be searched: {error}; `mtopt bags check --again` and '
                '`mtopt labels rebuild` make the indexes anew'
            ) from None


_POLICY = "trim(e.policy || ' ' || e.model_version)"
_TASK = "CASE :judged_task WHEN '' THEN e.task ELSE :judged_task END"
_COLUMNS = f"""
    e.episode_id, e.robot, e.task, {_POLICY}, e.steps, e.termination, {_TASK},
    h.verdict, h.who, h.stamp, d.verdict, d.probability
"""
_FROM = f"""
    FROM episodes e
    LEFT JOIN labels.outcomes h ON h.episode_id = e.episode_id AND h.task = {_TASK}
        AND h.source = 'human' AND h.model_version = ''
    LEFT JOIN labels.outcomes d ON d.episode_id = e.episode_id AND d.task = {_TASK}
        AND d.source = 'detector' AND d.model_version = (
            SELECT max(model_version) FROM labels.outcomes n
            WHERE n.episode_id = e.episode_id AND n.task = {_TASK} AND n.source = 'detector'
        )
"""  # noqa: S608 # no value of anybody's

_DISPUTED = f"""
    WITH versions AS (
        SELECT DISTINCT model_version FROM labels.outcomes WHERE source = 'detector' AND task = :task
        ORDER BY model_version DESC LIMIT 2
    )
    SELECT episode_id FROM labels.outcomes o JOIN episodes USING (episode_id)
    WHERE o.task = :task AND source = 'detector' AND o.model_version IN versions
        AND verdict IN ({Verdict.FAILURE:d}, {Verdict.SUCCESS:d})
        AND NOT EXISTS (
            SELECT * FROM labels.outcomes h
            WHERE h.episode_id = o.episode_id AND h.task = :task AND h.source = 'human' AND h.model_version = ''
        )
    GROUP BY episode_id HAVING count(DISTINCT verdict) = 2 ORDER BY episode_id DESC LIMIT :size
"""  # noqa: S608 # no value of anybody's


def _conditions(wanted: EpisodeFilter) -> tuple[str, dict[str, object]]:
    values: dict[str, object] = {'judged_task': wanted.judged_task}
    conditions = [_CONDITIONS[wanted.judged]]
    for column, value in (('e.task', wanted.task), ('e.skill', wanted.skill), ('e.robot', wanted.robot)):
        if value is not None:
            name = column.partition('.')[2]
            conditions.append(f'{column} = :{name}')
            values[name] = value
    if wanted.policy is not None:
        conditions.append(f'(e.policy = :policy OR {_POLICY} = :policy)')
        values['policy'] = wanted.policy
    # An id begins with the time of recording, UTC.
    if wanted.first_day is not None:
        conditions.append('e.episode_id >= :first_day')
        values['first_day'] = f'{wanted.first_day:%Y%m%d}'
    if wanted.last_day is not None:
        conditions.append('e.episode_id < :day_after')
        values['day_after'] = f'{wanted.last_day + timedelta(days=1):%Y%m%d}'
    return ' AND '.join(f'({condition})' for condition in conditions), values


def _episode(row: tuple[Any, ...]) -> FoundEpisode:
    episode_id, robot, task, policy, steps, termination, judged_task, said, who, stamp, detected, probability = row
    return FoundEpisode(
        episode_id,
        robot,
        task,
        policy,
        steps,
        Termination(termination),
        judged_task,
        None if said is None else HumanLabel(Verdict(said), who, stamp),
        None if detected is None else Outcome(judged_task, Verdict(detected), probability),
    )

"""What people show the cameras on purpose: this is success, this is failure.

Each frame is a bag of an episode without steps, and a label of whoever shows it, so that training, splits and the page
Label treat it as they treat every episode. As in the paper, success and failure are shown in pairs, with the same light
and the same objects, so that nothing else tells them apart; all frames of a pair name its first one as the episode they
go on from, which puts them into the same split.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from mtopt_core.configuration import load_cell
from mtopt_core.episode import Episode, EpisodeInfo, Observation, Termination, Verdict, new_episode_id
from mtopt_core.episode_bag import write_episode
from mtopt_core.errors import MtoptError
from mtopt_core.human_labels import LabelChange
from mtopt_core.tasks import Task
from mtopt_web.site import Site

POLICY = 'shown'
"""In place of a policy, in the bags of what was shown."""
PERIOD = 0.2
"""s between two frames."""
LONGEST = 60.0
"""s after which a button counts as let go, whatever the browser says."""
STALE = 2.0
"""s by which a camera's picture may be older than the newest of the others: one that stands still shows what was."""
_JOINTS = 7


class NothingToSeeError(MtoptError):
    """No camera shows anything."""


@dataclass(frozen=True)
class Shown:
    """How much of a task was shown.

    Attributes:
        frames: By verdict.
        pairs: With success and failure.
    """

    frames: dict[Verdict, int]
    pairs: int


@dataclass
class Pair:
    """What is shown with the same light and the same objects.

    Attributes:
        first: Id of its first frame, empty until there is one.
        frames: Ids of its frames, by verdict.
    """

    first: str = ''
    frames: dict[Verdict, list[str]] = field(default_factory=lambda: defaultdict(list))


class Demonstration:
    """Frames that are stored under one label for as long as a button is held.

    Attributes:
        stored: Ids of the frames on the disk and labelled.
        trouble: Why it ended by itself, empty when it did not.
    """

    def __init__(self, site: Site, robot: str, task: Task, verdict: Verdict, who: str, pair: Pair) -> None:
        self.stored: list[str] = []
        self.trouble = ''
        self._site, self._robot, self._task, self._verdict, self._who = site, robot, task, verdict, who
        self._pair = pair
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._run, name='demonstration', daemon=True)
        self._thread.start()

    def release(self) -> None:
        """End it, and wait until the last frame is stored."""
        self._released.set()
        self._thread.join()

    def _run(self) -> None:
        shown: dict[str, int] = {}
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            due = time.monotonic() + PERIOD
            try:
                numbers = self._store(shown)
            except MtoptError as error:
                self.trouble = str(error)
                return
            shown = numbers
            if self._released.wait(max(0.0, due - time.monotonic())):
                return
        self.trouble = f'held for {LONGEST:.0f} s; let go and press again to go on'

    def _store(self, before: dict[str, int]) -> dict[str, int]:
        """Store a frame unless every camera still shows the one before; return the numbers of the pictures."""
        pictures = self._site.cameras.watch(self._robot)
        if not pictures:
            raise NothingToSeeError(f'the cameras of {self._robot} show nothing; is anything running?')
        newest = max(one.came for one in pictures.values())
        pictures = {camera: one for camera, one in pictures.items() if newest - one.came < STALE}
        numbers = {camera: one.number for camera, one in pictures.items()}
        if numbers == before:
            return numbers
        stamp = max(one.stamp for one in pictures.values())
        jpegs = {camera: one.jpeg for camera, one in pictures.items()}
        info = EpisodeInfo(
            new_episode_id(self._robot),
            self._robot,
            self._task.name,
            self._task.skill,
            POLICY,
            previous_episode_id=self._pair.first,
            termination=Termination.NONE,
            message=f'shown as {self._verdict.name.lower()} by {self._who}',
            stamp=stamp,
        )
        final = Observation(stamp, jpegs, np.zeros(_JOINTS), np.zeros(3), 0.0, False, 0.0, 0.0)
        write_episode(self._site.data.bags, Episode(info, (), final), load_cell())
        change = LabelChange(info.episode_id, self._task.name, self._verdict, self._who)
        self._site.labels.change_labels([change])
        self._pair.first = self._pair.first or info.episode_id
        self._pair.frames[self._verdict].append(info.episode_id)
        self.stored.append(info.episode_id)
        return numbers


def discard(site: Site, task: str, frames: list[str], who: str) -> None:
    """Take the labels of frames back; the bags stay.

    Raises:
        LabelError: The disk is full, or the store damaged or held.
    """
    site.labels.change_labels([LabelChange(episode_id, task, None, who) for episode_id in frames])


def count_shown(site: Site) -> dict[str, Shown]:
    """Return how much of every task was shown, by its name.

    Raises:
        LabelError: An index is damaged or held.
    """
    rows = site.episodes(policy=POLICY)
    labels = site.labels.labels((row.episode_id, row.task) for row in rows)
    frames: dict[str, dict[Verdict, int]] = defaultdict(lambda: dict.fromkeys(Verdict, 0))
    pairs: dict[str, dict[str, set[Verdict]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        label = labels.get((row.episode_id, row.task))
        if label is not None:
            frames[row.task][label.verdict] += 1
            pairs[row.task][row.previous_episode_id or row.episode_id].add(label.verdict)
    both = {Verdict.SUCCESS, Verdict.FAILURE}
    return {task: Shown(counts, sum(both <= said for said in pairs[task].values())) for task, counts in frames.items()}

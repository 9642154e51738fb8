"""What all pages of one start of `mtopt web` share: the data folder, its indexes, and who looks at what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from mtopt_core.catalogue import Catalogue, Row
from mtopt_core.episode_bag import episode_ids
from mtopt_core.episode_pictures import EpisodePictures, read_pictures
from mtopt_core.episode_search import EpisodeSearch
from mtopt_core.errors import BagError, MtoptError
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import TaskSet
from mtopt_web.claims import Claims
from mtopt_web.live_cameras import LiveCameras
from mtopt_web.robot_watch import RobotWatch
from mtopt_web.thumbnails import Thumbnails

REFRESH_PERIOD = 5.0
"""s between two looks for new bags."""
PATIENCE = 5.0
"""s a person is kept waiting while another process holds the label store."""
EPISODES_AT_HAND = 64


class Site:
    """One data folder, shown to several people.

    Attributes:
        data: The data folder.
        tasks: The task set.
        checkpoints: Folder of the detector's checkpoints.
        labels: The label store.
        search: Finds episodes.
        thumbnails: Small final pictures.
        claims: What each person looks at one by one.
        cameras: What the robots' cameras show; nothing unless somebody puts it there.
        robots: What the robots do; nothing unless somebody puts it there.
        trouble: What went wrong with new bags, for the person to read; empty when nothing did.
    """

    def __init__(self, data: DataFolder, tasks: TaskSet, checkpoints: Path, report: Report = silent) -> None:
        """Read what is new among the bags.

        Args:
            data: The data folder.
            tasks: The task set.
            checkpoints: Folder of the detector's checkpoints; it may be filled later.
            report: Told how many of the new bags have been read.

        Raises:
            BagError: The catalogue is damaged.
            LabelError: The label store is damaged.
        """
        self.data, self.tasks, self.checkpoints = data, tasks, checkpoints
        self.trouble = ''
        self._catalogue = Catalogue(data)
        self._catalogue.refresh(report)
        self.labels = LabelStore(data, PATIENCE)
        self.search = EpisodeSearch(data)
        self.thumbnails = Thumbnails(data)
        self.claims = Claims()
        self.cameras = LiveCameras()
        self.robots = RobotWatch()
        self.pictures: Callable[[str], EpisodePictures] = lru_cache(EPISODES_AT_HAND)(self._pictures)
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._follow, name='new bags', daemon=True)

    def start(self) -> None:
        """Follow from now on what is recorded."""
        self._watch.start()

    def close(self) -> None:
        """Stop following, close the indexes."""
        self._stop.set()
        if self._watch.is_alive():
            self._watch.join()
        self.thumbnails.close()
        self.labels.close()

    def episodes(self, policy: str | None = None) -> list[Row]:
        """Read new bags in, and return the episodes in order of their ids.

        Args:
            policy: Only those of this policy.

        Raises:
            BagError: The catalogue is damaged.
        """
        self._catalogue.refresh()
        return self._catalogue.episodes(policy=policy)

    def _pictures(self, episode_id: str) -> EpisodePictures:
        """Return the pictures of an episode's end.

        Raises:
            BagError: Its bag is gone or damaged.
        """
        bag = self.data.bags / episode_id
        if not bag.exists():
            raise BagError(f'the bag of episode {episode_id} is gone')
        return read_pictures(bag)

    def _follow(self) -> None:
        """Read new bags and make their pictures, of the newest first, while nobody waits for them."""
        seen: set[str] = set()
        while True:
            try:
                self._catalogue.refresh()
                new = [name for name in reversed(episode_ids(self.data.bags)) if name not in seen]
                for start in range(0, len(new), EPISODES_AT_HAND):
                    if self._stop.is_set():
                        return
                    some = new[start : start + EPISODES_AT_HAND]
                    self.thumbnails.make(some)
                    seen.update(some)
                self.trouble = ''
            except MtoptError as error:
                self.trouble = str(error)
            if self._stop.wait(REFRESH_PERIOD):
                return

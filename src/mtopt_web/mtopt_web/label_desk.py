"""One person's work on labels, without a screen: which episodes lie there, what is said of them, what is undone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mtopt_core.episode import Verdict
from mtopt_core.episode_search import EpisodeFilter, EpisodePage, FoundEpisode
from mtopt_core.errors import LabelError
from mtopt_core.human_labels import NONE_SEEN, LabelChange, LabelConflictError
from mtopt_core.label_journal import HumanLabel
from mtopt_web.site import Site

PAGE_SIZE = 60
UNDOS = 1000


@dataclass(frozen=True)
class Given:
    """A label this person gave, and what counted before it.

    Attributes:
        episode_id: The episode.
        task: Name of the task.
        label: What was said.
        before: What was replaced, None for nothing.
    """

    episode_id: str
    task: str
    label: HumanLabel
    before: HumanLabel | None


class LabelDesk:
    """What one person has on the screen, and the labels given there.

    Attributes:
        who: Name of the person.
        wanted: Which episodes to show.
        page: What lies there.
    """

    def __init__(self, site: Site, who: str) -> None:
        self.who = who
        self.wanted = EpisodeFilter()
        self.page = EpisodePage((), 0, 0)
        self._site = site
        self._laid = False
        self._given: list[Given] = []

    def open(self, wanted: EpisodeFilter) -> None:
        """Show the newest episodes of a filter.

        Raises:
            LabelError: An index is damaged or held.
            UnknownTaskError: The filter's task is not in the task set.
        """
        if wanted.judged_task:
            self._site.tasks.index(wanted.judged_task)
        self.wanted, self._laid = wanted, False
        self.page = self._site.search.page(wanted, PAGE_SIZE)

    def lay(self, episodes: tuple[FoundEpisode, ...]) -> None:
        """Show chosen episodes, no two of them the same."""
        self._laid = True
        self.page = EpisodePage(episodes, 0, len(episodes))

    def turn(self, forward: bool) -> bool:
        """Show the next page, or the one before; return whether there was one.

        Raises:
            LabelError: An index is damaged or held.
        """
        if self._laid or not self.page.episodes:
            return False
        if forward:
            page = self._site.search.page(self.wanted, PAGE_SIZE, after=self.page.episodes[-1].episode_id)
        else:
            page = self._site.search.page(self.wanted, PAGE_SIZE, up_to=self.page.episodes[0].episode_id)
        if page.episodes:
            self.page = page
        return bool(page.episodes)

    def say(self, episode_id: str, verdict: Verdict) -> FoundEpisode:
        """Store a label; it is on the disk when this returns.

        Args:
            episode_id: An episode of the page.
            verdict: What the person says.

        Returns:
            The episode with its label.

        Raises:
            LabelConflictError: Somebody labelled it since it was shown; the page shows that label now.
            LabelError: The episode is not on the page, the disk is full, or the store is damaged or held.
            UnknownTaskError: The episode's task is not in the task set.
        """
        episode = self._shown(episode_id)
        self._site.tasks.index(episode.judged_task)
        stored = self._change(episode, verdict, NONE_SEEN if episode.label is None else episode.label.stamp)
        if stored.label is not None and stored.label != episode.label:
            self._given.append(Given(episode_id, episode.judged_task, stored.label, episode.label))
            del self._given[:-UNDOS]
        return stored

    def undo(self) -> FoundEpisode | None:
        """Put back what the person's last label replaced.

        Returns:
            The episode concerned; None when there is nothing to undo.

        Raises:
            LabelConflictError: Somebody labelled it since; that label stays, and this undo is used up.
            LabelError: As for `say`.
        """
        if not self._given:
            return None
        given = self._given[-1]
        found = self._site.search.find([given.episode_id], given.task)
        if not found:
            self._given.pop()
            raise LabelError(f'episode {given.episode_id} is gone; its label stays in the journal')
        try:
            episode = self._change(found[0], None if given.before is None else given.before.verdict, given.label.stamp)
        except LabelConflictError:
            self._given.pop()
            raise
        self._given.pop()
        self._renew(episode)
        return episode

    def refresh(self, episode_ids: Iterable[str]) -> tuple[FoundEpisode, ...]:
        """Look again at what is said of episodes of the page, and return those of which it has changed.

        Raises:
            LabelError: The store is damaged or held.
        """
        shown = [episode for episode in self.page.episodes if episode.episode_id in set(episode_ids)]
        labels = self._site.labels.labels((episode.episode_id, episode.judged_task) for episode in shown)
        changed = []
        for episode in shown:
            label = labels.get((episode.episode_id, episode.judged_task))
            if label != episode.label:
                changed.append(self._put(replace(episode, label=label)))
        return tuple(changed)

    def _renew(self, episode: FoundEpisode) -> None:
        """Have the label that an undo put back undone by the next one, though it counts from another moment now."""
        for number, given in reversed(list(enumerate(self._given))):
            if (given.episode_id, given.task) == (episode.episode_id, episode.judged_task) and episode.label:
                self._given[number] = replace(given, label=episode.label)
                return

    def _change(self, episode: FoundEpisode, verdict: Verdict | None, seen: int) -> FoundEpisode:
        key = episode.episode_id, episode.judged_task
        try:
            labels = self._site.labels.change_labels([LabelChange(*key, verdict, self.who, seen)])
        except LabelConflictError as error:
            self._put(replace(episode, label=error.labels[key]))
            raise
        return self._put(replace(episode, label=labels.get(key)))

    def _shown(self, episode_id: str) -> FoundEpisode:
        for episode in self.page.episodes:
            if episode.episode_id == episode_id:
                return episode
        raise LabelError(f'episode {episode_id!r} is not on this page; reload the page')

    def _put(self, episode: FoundEpisode) -> FoundEpisode:
        """Show an episode as it is now."""
        key = episode.episode_id, episode.judged_task
        shown = tuple(episode if (one.episode_id, one.judged_task) == key else one for one in self.page.episodes)
        self.page = replace(self.page, episodes=shown)
        return episode

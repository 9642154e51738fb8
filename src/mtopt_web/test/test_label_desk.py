"""One person's work on labels, without a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtopt_core.episode import Verdict
from mtopt_core.episode_search import EpisodeFilter, Judged
from mtopt_core.errors import LabelError, UnknownTaskError
from mtopt_core.human_labels import LabelConflictError
from mtopt_core.images import decode_jpeg
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_web.claims import Claims
from mtopt_web.label_desk import LabelDesk
from mtopt_web.site import Site
from mtopt_web.thumbnails import SIZE, Thumbnails


@pytest.fixture
def site(data: DataFolder, tmp_path: Path) -> Iterator[Site]:
    site = Site(data, load_tasks(), tmp_path / 'models')
    yield site
    site.close()


def opened(site: Site, who: str, **wanted: object) -> LabelDesk:
    desk = LabelDesk(site, who)
    desk.open(EpisodeFilter(**wanted))
    return desk


def test_episodes_that_were_labelled_do_not_shift_the_next_page(
    site: Site, data: DataFolder, record: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mtopt_web.label_desk.PAGE_SIZE', 5)
    desk = opened(site, 'Ada', judged=Judged.UNLABELLED)
    seen = []
    while True:
        for episode in desk.page.episodes:
            seen.append(episode.episode_id)
            desk.say(episode.episode_id, Verdict.SUCCESS)
        if not desk.turn(forward=True):
            break
    assert len(seen) == len(set(seen)) == 12
    assert site.search.page(EpisodeFilter(judged=Judged.UNLABELLED), 5).total == 0


def test_undo_goes_back_label_by_label_also_over_a_change_of_the_filter(site: Site) -> None:
    desk = opened(site, 'Ada')
    one, two = (episode.episode_id for episode in desk.page.episodes[:2])
    desk.say(one, Verdict.SUCCESS)
    desk.say(one, Verdict.FAILURE)
    desk.say(two, Verdict.UNSURE)
    desk.open(EpisodeFilter('lift-milk'))
    assert desk.undo().label is None
    assert desk.undo().label.verdict is Verdict.SUCCESS
    assert all(episode.label is None for episode in desk.page.episodes)
    assert desk.undo().label is None
    assert desk.undo() is None


def test_an_undo_does_not_take_back_what_somebody_else_said_since(site: Site) -> None:
    ada, grace = opened(site, 'Ada'), opened(site, 'Grace')
    episode = ada.page.episodes[0].episode_id
    ada.say(episode, Verdict.SUCCESS)
    with pytest.raises(LabelConflictError, match=r'\(Ada\) said success'):
        grace.say(episode, Verdict.FAILURE)
    assert grace.page.episodes[0].label.who == 'Ada'
    grace.say(episode, Verdict.FAILURE)
    with pytest.raises(LabelConflictError, match=r'\(Grace\) said failure'):
        ada.undo()
    assert ada.undo() is None
    assert ada.page.episodes[0].label.who == 'Grace'


def test_what_is_not_on_the_page_or_no_task_is_refused(site: Site, data: DataFolder, record: Callable) -> None:
    desk = opened(site, 'Ada')
    with pytest.raises(LabelError, match='not on this page'):
        desk.say('../etc', Verdict.SUCCESS)
    with pytest.raises(UnknownTaskError, match="unknown task 'fold-cloth'; known: lift-any"):
        desk.open(EpisodeFilter('fold-cloth'))
    foreign = record(data, 30, 'fold-cloth')
    site._catalogue.refresh()
    desk.open(EpisodeFilter())
    with pytest.raises(UnknownTaskError):
        desk.say(foreign, Verdict.SUCCESS)
    assert data.journal.read_bytes() == b''


def test_one_thing_is_shown_to_one_person_until_it_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims(patience=10)
    now = [0.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    assert claims.claim('e1', 'ada')
    assert claims.claim('e1', 'ada')
    assert not claims.claim('e1', 'grace')
    assert claims.claim('e2', 'ada')
    assert claims.claim('e1', 'grace')
    claims.release('grace')
    assert claims.claim('e1', 'ada')
    now[0] = 11
    assert claims.claim('e1', 'grace')


def test_thumbnails_are_made_once_and_say_why_there_is_none(data: DataFolder, record: Callable) -> None:
    gone, broken, whole = sorted(path.name for path in data.bags.iterdir())[:3]
    thumbnails = Thumbnails(data)
    assert decode_jpeg(thumbnails.get([whole], 'main')[whole].jpeg).shape == (SIZE, SIZE, 3)
    assert thumbnails.get([whole], 'nose')[whole].trouble == 'no nose, only main, wrist, side_left, side_right'
    shutil.rmtree(data.bags / gone)
    file = next((data.bags / broken).glob('*.mcap'))
    spoiled = file.read_bytes().replace(b'\xff\xd8\xff', b'\xff\xd8\x00')
    file.write_bytes(spoiled)
    found = thumbnails.get([gone, broken, whole], 'main')
    assert found[gone].trouble == 'its bag is gone'
    assert found[broken].trouble
    shutil.rmtree(data.bags / whole)
    thumbnails.close()
    again = Thumbnails(data)
    assert again.get([whole], 'side_left')[whole].jpeg
    again.close()


def test_damaged_thumbnails_are_made_anew(data: DataFolder) -> None:
    (data.root / 'thumbnails.sqlite').write_bytes(b'no database' * 1000)
    thumbnails = Thumbnails(data)
    episode = next(data.bags.iterdir()).name
    assert thumbnails.get([episode], 'main')[episode].jpeg
    thumbnails.close()

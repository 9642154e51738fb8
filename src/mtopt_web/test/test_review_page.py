"""The pages Review and Detector in a browser: label, train, see what came of it, be asked what is hard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from mtopt_core.catalogue import Catalogue
from mtopt_core.checkpoint import newest_checkpoint
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.human_labels import LabelChange
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_success_detector.review_queue import Reason
from mtopt_web.review import NO_DETECTOR, PERSON, VERSIONS, review_queue
from mtopt_web.site import Site

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def data(tmp_path: Path, record: Callable) -> DataFolder:
    """Lifts, of which two in three are labelled."""
    data = DataFolder(tmp_path / 'data')
    names = [record(data, number, 'lift-any', size=64) for number in range(90)]
    store = LabelStore(data)
    store.change_labels(
        [LabelChange(name, 'lift-any', Verdict(number % 2), 'Ada') for number, name in enumerate(names[:60])]
    )
    store.close()
    return data


def whys(browser) -> list[str]:
    return [why.text for why in browser.all('.board-why')]


def train(browser, steps: int) -> None:
    field = browser.one('.training-steps input')
    field.send_keys(Keys.CONTROL, 'a')
    field.send_keys(Keys.BACKSPACE, str(steps), Keys.TAB)
    browser.one('.train').click()


def trained(browser, episodes: int) -> None:
    """Wait for the end of a training, a minute on a quiet machine for a few steps."""
    wanted = f'from {episodes} labelled episodes'
    told = browser.until(lambda: re.search(f'{wanted}|Nothing was trained.*', browser.text()), 150)
    assert told[0] == wanted


def test_a_person_trains_the_detector_and_is_asked_what_it_finds_hard(browser, server, data: DataFolder) -> None:
    browser.enter(server, 'Ada', '/detector')
    browser.until(lambda: 'There is no detector in' in browser.text())
    browser.go(server, '/review')
    browser.until(lambda: len(browser.all('.board-cell')) == 30)
    assert set(whys(browser)) == {NO_DETECTOR}
    train(browser, 6)
    browser.until(lambda: 'of 6 steps' in browser.text() or 'from 60 labelled episodes' in browser.text())
    trained(browser, 60)
    first = newest_checkpoint(data.root / 'models' / 'success_detector').name
    browser.one('.ask-again').click()
    browser.until(lambda: set(whys(browser)) == {str(reason) for reason in Reason})
    browser.press('s')
    browser.until(lambda: browser.all('.board-cell[data-state=success]'))
    train(browser, 3)
    trained(browser, 61)
    browser.go(server, '/detector')
    browser.until(lambda: len(browser.all('.detector-tasks tbody tr')) == 12)
    assert first in browser.one('.filter-other').text
    assert browser.all('svg[aria-label="Calibration curve"] circle')
    assert '31 / 30' in browser.one('svg[aria-label="Labels of each task"]').text
    assert browser.troubles() == []


def test_a_training_that_cannot_be_says_why(browser, server, data: DataFolder) -> None:
    store = LabelStore(data)
    names = [row.episode_id for row in Catalogue(data).episodes()]
    store.change_labels([LabelChange(name, 'lift-any', None, 'Ada') for name in names])
    store.close()
    browser.enter(server, 'Ada', '/review')
    browser.until(lambda: browser.all('.train'))
    train(browser, 3)
    browser.until(lambda: 'Nothing was trained: none of the 90 episodes' in browser.text())


def test_a_damaged_checkpoint_is_named(browser, start: Callable, data: DataFolder) -> None:
    folder = data.root / 'models' / 'success_detector' / '20261128T000000_000001'
    folder.mkdir(parents=True)
    (folder / 'manifest.json').write_text('{')
    browser.enter(start(), 'Ada', '/detector')
    browser.until(lambda: '20261128T000000_000001' in browser.text())


def test_episodes_on_which_person_and_detector_disagree_are_shown_to_be_said_again(
    data: DataFolder, tmp_path: Path
) -> None:
    site = Site(data, load_tasks(), tmp_path / 'models')
    labels = site.labels.labels((row.episode_id, 'lift-any') for row in site.episodes())
    labelled = next(name for (name, _), label in labels.items() if label.verdict is Verdict.SUCCESS)
    other = next(row.episode_id for row in site.episodes() if (row.episode_id, 'lift-any') not in labels)
    for version, verdict in (('1', Verdict.SUCCESS), ('2', Verdict.FAILURE)):
        graded = {name: [Outcome('lift-any', verdict, 0.5)] for name in (labelled, other)}
        site.labels.add_many(DETECTOR, version, graded)
    queue = review_queue(site, 'lift-any')
    assert queue.why[labelled] == PERSON
    assert queue.why[other] == VERSIONS
    assert {queue.why[episode.episode_id] for episode in queue.episodes[:3]} == {PERSON, VERSIONS, NO_DETECTOR}
    assert len(queue.episodes) == len(queue.why) == 31
    site.close()

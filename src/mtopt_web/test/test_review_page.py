"""The pages Review and Detector in a browser: label, train, see what came of it, be asked what is hard."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from mtopt_core.catalogue import Catalogue
from mtopt_core.checkpoint import newest_checkpoint
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.errors import LabelError
from mtopt_core.human_labels import LabelChange
from mtopt_core.label_store import DETECTOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_success_detector.drift import Reference
from mtopt_success_detector.review_queue import Reason
from mtopt_web.detector_versions import DetectorVersion
from mtopt_web.drift_watch import drift_of
from mtopt_web.retraining import STOPPED, Retraining
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


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_training_is_stopped_or_killed_and_gone_on_with(data: DataFolder, tmp_path: Path) -> None:
    site = Site(data, load_tasks(), tmp_path / 'models')
    training = Retraining(site)
    training.start(3)
    with pytest.raises(LabelError, match='a training runs already'):
        training.start(3)
    training.stop()
    wait_until(lambda: not training.progress.running)
    assert training.progress.trouble == STOPPED
    training.stop()  # of nothing
    training.start(3)
    wait_until(lambda: training.progress.done > 0 or not training.progress.running)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not training.progress.running)
    assert 'its process was killed' in training.progress.trouble or training.progress.version
    training.start(3)
    wait_until(lambda: not training.progress.running)
    assert training.progress.version == newest_checkpoint(site.checkpoints).name
    site.close()


def test_the_page_stops_a_training(browser, server) -> None:
    browser.enter(server, 'Ada', '/review')
    browser.until(lambda: browser.all('.train'))
    train(browser, 5000)
    browser.until(lambda: browser.one('.stop-training').is_displayed())
    browser.one('.stop-training').click()
    browser.until(lambda: 'Nothing was trained: it was stopped' in browser.text(), 60)
    assert browser.one('.train').is_enabled()


def test_a_version_whose_verdicts_are_no_longer_what_they_were_says_so(data: DataFolder, tmp_path: Path) -> None:
    site = Site(data, load_tasks(), tmp_path / 'models')
    usual = Reference(episodes=200, success=0.1, unsure=0.0, distance=0.0, distance_spread=1.0)
    version = DetectorVersion('1', tmp_path, '', 0, {}, dict.fromkeys(('lift-any', 'lift-can'), usual))
    lifts = site.tasks.of_skill('lift')
    names = [row.episode_id for row in site.episodes()]

    def grade(verdict: Verdict, chosen: list[str], by: str) -> None:
        graded = {name: [Outcome(task, Verdict.FAILURE, 0.0) for task in lifts] for name in chosen}
        for name in chosen:
            graded[name][lifts.index('lift-any')] = Outcome('lift-any', verdict, 0.5)
        site.labels.add_many(DETECTOR, by, graded)

    assert drift_of(site, version) == []
    grade(Verdict.SUCCESS, names, '0')
    assert drift_of(site, version) == []  # another version's verdicts
    grade(Verdict.SUCCESS, names, '1')
    (alarm,) = drift_of(site, version)
    assert alarm.startswith('lift-any: 100% of the last 90 verdicts are success, 10% when it was trained')
    site.close()


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

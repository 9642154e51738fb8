"""The page Show in a browser, before the cameras of a bag that is replayed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.action_chains import ActionChains

from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CAMERAS
from mtopt_core.episode import Verdict
from mtopt_core.episode_bag import episode_ids, read_episode
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_web import demonstrations
from mtopt_web.demonstrations import Demonstration, Pair
from mtopt_web.site import Site

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def replay(server, data: DataFolder, tmp_path) -> Iterator[subprocess.Popen]:
    """A bag that is played over and over to the server, and is not in its folder."""
    bag = shutil.copytree(data.bags / episode_ids(data.bags)[0], tmp_path / 'replayed')
    process = subprocess.Popen(
        [sys.executable, '-m', 'mtopt_core.cli', 'replay', str(bag), '--loop', '--rate', '2'],
        env=server.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.send_signal(signal.SIGINT)
    process.wait(30)


def shown(data: DataFolder) -> dict[str, list[str]]:
    """Return the frames shown, by verdict."""
    Catalogue(data).refresh()
    store = LabelStore(data)
    rows = Catalogue(data).episodes(policy='shown')
    labels = store.labels((row.episode_id, row.task) for row in rows)
    store.close()
    return {
        verdict.name: [name for (name, _), label in labels.items() if label.verdict is verdict] for verdict in Verdict
    }


def stored(browser, frames: int) -> None:
    """Wait until so many frames are stored."""
    browser.until(lambda: (told := re.search(r'(\d+) frames stored', browser.text())) and int(told[1]) >= frames)


def hold(browser, key: str, frames: int) -> None:
    """Hold a key until so many frames are stored."""
    code = f'Key{key.upper()}'
    for kind in ('keyDown', 'keyUp'):
        browser.driver.execute_cdp_cmd(
            'Input.dispatchKeyEvent', {'type': kind, 'key': key, 'code': code, 'text': key if kind == 'keyDown' else ''}
        )
        if kind == 'keyDown':
            stored(browser, frames)


def test_success_and_failure_are_shown_in_pairs_and_stored_as_labelled_bags(
    browser, server, replay, data: DataFolder
) -> None:
    before = len(episode_ids(data.bags))
    browser.enter(server, 'Ada', '/show')
    browser.until(lambda: len(browser.all('.live img')) == len(CAMERAS))
    browser.until(lambda: 'Pair 1 of lift-any: show success' in browser.text())
    hold(browser, 's', 3)
    browser.until(lambda: 'Now failure, or a near miss' in browser.text())
    hold(browser, 'f', 2)
    browser.until(lambda: 'Change the light, the objects or the background' in browser.text())
    frames = shown(data)
    assert len(frames['SUCCESS']) >= 3
    assert len(frames['FAILURE']) >= 2
    assert len(episode_ids(data.bags)) == before + len(frames['SUCCESS']) + len(frames['FAILURE'])
    pairs = set()
    for name in (*frames['SUCCESS'], *frames['FAILURE']):
        episode = read_episode(data.bags / name)
        assert (episode.info.task, episode.info.skill, episode.steps) == ('lift-any', 'lift', ())
        assert set(episode.final.images) == set(CAMERAS)
        pairs.add(episode.info.previous_episode_id or name)
    assert len(pairs) == 1
    assert browser.troubles() == []
    browser.press('n')
    browser.until(lambda: 'Pair 2 of lift-any' in browser.text())
    hold(browser, 's', 1)
    browser.until(lambda: 'Now failure' in browser.text())
    browser.press('z')
    browser.until(lambda: 'were taken back' in browser.text())
    assert shown(data) == frames


def test_a_camera_that_stands_still_is_left_out(data: DataFolder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demonstrations, 'STALE', 1.0)
    jpegs = read_episode(data.bags / episode_ids(data.bags)[0]).final.images
    site = Site(data, load_tasks(), tmp_path / 'models')
    site.cameras.put('robot1', 'side_left', jpegs['side_left'], 1)
    time.sleep(1.5)
    for camera in ('main', 'wrist'):
        site.cameras.put('robot1', camera, jpegs[camera], 10**9)
    showing = Demonstration(site, 'robot1', site.tasks['lift-any'], Verdict.SUCCESS, 'Ada', Pair())
    while not showing.stored:
        time.sleep(0.01)
    showing.release()
    site.close()
    assert set(read_episode(data.bags / showing.stored[0]).final.images) == {'main', 'wrist'}


def test_a_button_that_is_held_by_the_pointer_stores_until_it_is_let_go(
    browser, server, replay, data: DataFolder
) -> None:
    browser.enter(server, 'Ada', '/show')
    browser.until(lambda: browser.all('.hold.success:not([disabled])'))
    browser.until(lambda: browser.all('.live img'))
    ActionChains(browser.driver).click_and_hold(browser.one('.hold.failure')).perform()
    stored(browser, 2)
    ActionChains(browser.driver).release().perform()
    browser.until(lambda: 'Now success' in browser.text())
    assert len(shown(data)['FAILURE']) >= 2


def test_without_cameras_it_says_what_to_start(browser, server) -> None:
    browser.enter(server, 'Ada', '/show')
    browser.until(lambda: 'No cameras are to be seen' in browser.text())
    assert not browser.one('.hold.success').is_enabled()
    assert server.ask('/live/robot9', Cookie=server.cookie())[0] == 404

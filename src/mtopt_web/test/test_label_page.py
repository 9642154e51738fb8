"""The page Label, in a browser, on a real server and real bags."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable

import pytest
from selenium.webdriver.common.keys import Keys

from mtopt_core.episode import Verdict
from mtopt_core.human_labels import LabelChange
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder

pytestmark = pytest.mark.timeout(300)


def journal(data: DataFolder) -> list[dict]:
    return [json.loads(line) for line in data.journal.read_text().splitlines()]


def states(browser) -> list[str]:
    return [cell.get_attribute('data-state') for cell in browser.all('.board-cell')]


def focused(browser) -> str:
    return browser.one('.board-cell.focused').get_attribute('data-episode')


def choose(browser, name: str, choice: str) -> None:
    browser.one(f'.filter-{name}').click()
    browser.until(lambda: [item for item in browser.all('.q-menu .q-item') if item.text == choice])[0].click()


def test_a_person_labels_by_keys_and_each_mark_is_in_the_journal_first(browser, server, data: DataFolder) -> None:
    browser.enter(server, 'Ada Lovelace')
    browser.until(lambda: len(browser.all('.board-cell')) == 12)
    first = focused(browser)
    browser.press('s', 'f', 'u', ' ', '1')
    browser.until(lambda: states(browser)[:6] == ['success', 'failure', 'unsure', 'none', 'success', 'none'])
    lines = journal(data)
    assert [line['outcomes'][0]['verdict'] for line in lines] == ['success', 'failure', 'unsure', 'success']
    assert {line['who'] for line in lines} == {'Ada Lovelace'}
    assert lines[0]['episode_id'] == first
    assert lines[0]['outcomes'][0]['task'] == 'place-any'
    assert browser.troubles() == []


def test_undo_puts_back_what_was_there_and_says_so(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    browser.press('s')
    browser.until(lambda: states(browser)[0] == 'success')
    browser.press(Keys.ARROW_LEFT, 'f')
    browser.until(lambda: states(browser)[0] == 'failure')
    browser.press('z')
    browser.until(lambda: states(browser)[0] == 'success')
    browser.press('z')
    browser.until(lambda: states(browser)[0] == 'none')
    assert [line['outcomes'][0]['verdict'] for line in journal(data)] == ['success', 'failure', 'success', 'withdrawn']
    browser.press('z')
    browser.until(lambda: 'There is nothing to undo' in browser.text())


def test_one_by_one_shows_three_views_and_the_last_second_in_motion(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    first = focused(browser)
    browser.press(Keys.ENTER)
    browser.until(lambda: len(browser.all('.board-views img')) == 4)
    views = browser.all('.board-views figure:not(.board-loop) img')
    assert [view.get_attribute('alt') for view in views] == ['main', 'side_left', 'side_right']
    browser.until(lambda: all(view.get_property('naturalWidth') == 32 for view in views))
    shown = set()
    browser.until(lambda: shown.add(browser.one('.board-loop img').get_attribute('src')) or len(shown) == 3)
    browser.press('f')
    browser.until(lambda: browser.one('.board-single').get_attribute('data-episode') != first)
    browser.until(lambda: len(journal(data)) == 1)
    browser.press(Keys.ESCAPE)
    browser.until(lambda: states(browser)[:1] == ['failure'])


def test_big_buttons_do_what_the_keys_do(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    browser.all('.board-cell')[4].click()
    browser.one('.board-actions .failure').click()
    browser.until(lambda: states(browser)[4] == 'failure')
    assert len(journal(data)) == 1


def test_filters_leave_what_fits(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: len(browser.all('.board-cell')) == 12)
    choose(browser, 'task', 'lift-can')
    browser.until(lambda: len(browser.all('.board-cell')) == 4)
    choose(browser, 'robot', 'robot2')
    browser.until(lambda: len(browser.all('.board-cell')) == 2)
    browser.press('s')
    browser.until(lambda: 'success' in states(browser))
    choose(browser, 'verdict', 'unlabelled')
    browser.until(lambda: len(browser.all('.board-cell')) == 1)
    choose(browser, 'judged', 'lift-any')
    browser.until(lambda: [cell.text for cell in browser.all('.board-task')] == ['lift-any'] * 2)


def test_what_another_person_says_shows_by_itself_and_who_finds_the_store_in_use_waits(
    browser, server, data: DataFolder
) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    episodes = [cell.get_attribute('data-episode') for cell in browser.all('.board-cell')]
    store = LabelStore(data)
    store.change_labels([LabelChange(episodes[1], 'lift-any', Verdict.FAILURE, 'Grace')])
    browser.until(lambda: states(browser)[1] == 'failure')
    assert 'says Grace' in browser.all('.board-cell')[1].get_attribute('aria-label')
    held = sqlite3.connect(data.labels)
    held.execute('BEGIN IMMEDIATE')
    browser.press('s')
    browser.until(lambda: states(browser)[0] == 'saving')
    held.rollback()
    held.close()
    browser.until(lambda: states(browser)[0] == 'success')
    store.close()


def test_two_people_who_say_different_things_at_once_lose_neither(open_browser, server, data: DataFolder) -> None:
    ada, grace = open_browser(), open_browser()
    ada.enter(server, 'Ada')
    grace.enter(server, 'Grace')
    for one in (ada, grace):
        one.until(lambda one=one: one.all('.board-cell'))
    for _ in range(12):
        ada.press('s')
        grace.press('f')
    for one in (ada, grace):
        one.until(lambda one=one: set(states(one)) <= {'success', 'failure', 'trouble'})
    counting = {}
    for line in journal(data):
        (said,) = line['outcomes']
        before = counting.get(line['episode_id'])
        assert said.get('replaced', {}).get('stamp') == (before and before['stamp'])
        counting[line['episode_id']] = line
    assert len(counting) == 12


def test_a_label_that_was_shown_survives_kill_9(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    episode = focused(browser)
    browser.press('s')
    browser.until(lambda: states(browser)[0] == 'success')
    server.stop(signal.SIGKILL)
    for path in data.root.glob('labels.sqlite*'):
        path.unlink()
    store = LabelStore(data)
    assert store.labels([(episode, 'place-any')])[episode, 'place-any'].who == 'Ada'
    store.close()


def test_a_full_disk_is_told_and_the_label_is_not_marked(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    browser.press('s')
    browser.until(lambda: states(browser)[0] == 'success')
    size = data.journal.stat().st_size
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, -1))
    browser.press('f')
    browser.until(lambda: states(browser)[1] == 'trouble')
    browser.until(lambda: 'were not stored' in browser.text() or 'full' in browser.text())
    assert data.journal.stat().st_size == size
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
    browser.press(Keys.ARROW_LEFT, 'f')
    browser.until(lambda: states(browser)[1] == 'failure')
    assert len(journal(data)) == 2


def test_a_store_that_is_held_or_damaged_is_told(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    held = sqlite3.connect(data.labels)
    held.execute('BEGIN IMMEDIATE')
    browser.press('s')
    browser.until(lambda: states(browser)[0] == 'trouble')
    browser.until(lambda: 'is held by another process; nothing was stored' in browser.text())
    held.rollback()
    held.close()
    assert data.journal.read_bytes() == b''
    for path in (data.labels, data.labels.with_name('labels.sqlite-wal')):
        path.write_bytes(b'no database' * 1000)
    choose(browser, 'verdict', 'unlabelled')
    browser.until(lambda: 'mtopt labels rebuild' in browser.text())


def test_a_bag_that_is_deleted_under_the_page_is_told(browser, server, data: DataFolder) -> None:
    browser.enter(server)
    browser.until(lambda: browser.all('.board-cell'))
    shutil.rmtree(data.bags / focused(browser))
    browser.press(Keys.ENTER)
    browser.until(lambda: 'is gone' in browser.text() or 'there is no episode' in browser.text())
    browser.press(' ', 's')
    browser.until(lambda: len(journal(data)) == 1)


def test_new_episodes_are_found_while_the_page_is_served(browser, server, data: DataFolder, record: Callable) -> None:
    browser.enter(server)
    browser.until(lambda: len(browser.all('.board-cell')) == 12)
    record(data, 20)

    def seen() -> bool:
        browser.driver.refresh()
        time.sleep(1)
        return len(browser.all('.board-cell')) == 13

    browser.until(seen)


def test_pages_are_turned_by_keys(browser, start: Callable, data: DataFolder, record: Callable) -> None:
    for number in range(100, 160):
        record(data, number)
    browser.enter(start())
    browser.until(lambda: len(browser.all('.board-cell')) == 60)
    assert '1–60 of 72' in browser.text()
    last = browser.all('.board-cell')[-1].get_attribute('data-episode')
    browser.press(Keys.PAGE_DOWN)
    browser.until(lambda: '61–72 of 72' in browser.text())
    assert focused(browser) < last
    browser.press(Keys.PAGE_UP)
    browser.until(lambda: '1–60 of 72' in browser.text())
    browser.until(lambda: focused(browser) == last)

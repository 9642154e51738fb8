"""A data folder of small real bags, the real server on it, and Debian's Chromium in front of it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from mtopt_core.configuration import CAMERAS, load_cell
from mtopt_core.environment import free_domain
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Step, Termination
from mtopt_core.episode_bag import write_episode
from mtopt_core.images import encode_jpeg
from mtopt_core.paths import DataFolder

CHROMIUM, DRIVER = Path('/usr/bin/chromium'), Path('/usr/bin/chromedriver')
TIMEOUT = 30.0
SWITCHES = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--window-size=1366,768',
)


def record_episode(data: DataFolder, number: int, task: str = 'lift-can', robot: str = 'robot1', size: int = 32) -> str:
    """Write an episode whose pictures are of one colour, so that a mix-up shows."""
    rng = np.random.default_rng(number)
    colour = rng.integers(30, 220, 3)

    def observe(stamp: int) -> Observation:
        jpegs = {
            camera: encode_jpeg(np.full((size, size, 3), colour, np.uint8) + np.uint8(5 * view), 90)
            for view, camera in enumerate(CAMERAS)
        }
        return Observation(stamp, jpegs, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1)

    steps = tuple(Step(observe((number + 1) * 10**9 + n * 4 * 10**8), Action()) for n in range(4))
    info = EpisodeInfo(
        f'202611{1 + number // 1000 % 28:02d}T{number % 24:02d}0000_{robot}_{number:08d}',
        robot,
        task,
        task.partition('-')[0],
        'scripted' if number % 2 else 'learned',
        '' if number % 2 else '20261101T000000_000400',
        steps=len(steps),
        termination=Termination.TERMINATE,
        stamp=(number + 1) * 10**9 + 16 * 10**8,
    )
    write_episode(data.bags, Episode(info, steps, observe(info.stamp)), load_cell())
    return info.episode_id


@pytest.fixture(scope='session')
def record() -> Callable[..., str]:
    """Return what writes one more episode."""
    return record_episode


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    """A data folder of a dozen episodes."""
    data = DataFolder(tmp_path / 'data')
    for number in range(12):
        record_episode(data, number, ('lift-can', 'lift-any', 'place-any')[number % 3], f'robot{1 + number % 2}')
    return data


class Server:
    """A running `mtopt web`."""

    def __init__(self, data: DataFolder, *options: str) -> None:
        self.log = data.root / 'web.log'
        command = [sys.executable, '-m', 'mtopt_core.cli', 'web', '--data', str(data.root), '--port', '0', *options]
        self.environment = {**os.environ, 'ROS_DOMAIN_ID': str(free_domain())}
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment
            )
        line = self.process.stdout.readline()
        assert line.startswith('Open http'), f'{line}\n{self.log.read_text()}'
        self.link = line.split()[1]
        self.port = urlsplit(self.link).port

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(TIMEOUT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()

    def ask(
        self, path: str, method: str = 'GET', body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request as it is; return status, headers and body of the answer."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=TIMEOUT)
        try:
            connection.putrequest(method, path, skip_host='Host' in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace('_', '-'), value)
            if body is not None:
                connection.putheader('Content-Length', str(len(body.encode())))
            connection.endheaders(None if body is None else body.encode())
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def cookie(self) -> str:
        """Open the link as a browser does; return the cookie given for it."""
        status, headers, _ = self.ask(self.link.partition(str(self.port))[2])
        assert status == 303
        return headers['set-cookie'].partition(';')[0]


@contextmanager
def starting() -> Iterator[Callable[..., Server]]:
    """Yield what starts a server on a data folder; whatever is left running is stopped."""
    servers: list[Server] = []

    def start(data: DataFolder, *options: str) -> Server:
        servers.append(Server(data, *options))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope='session')
def start_on() -> Iterator[Callable[..., Server]]:
    """Return what starts a server on a data folder."""
    with starting() as start:
        yield start


@pytest.fixture
def start(data: DataFolder) -> Iterator[Callable[..., Server]]:
    """Return what starts a server on the test's data folder."""
    with starting() as start:
        yield partial(start, data)


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


class Browser:
    """Chromium with a profile of its own, as one person."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for switch in (*SWITCHES, f'--user-data-dir={profile}'):
            options.add_argument(switch)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def enter(self, server: Server, who: str = 'Ada', path: str = '/label') -> None:
        """Open the printed link, give a name, go to a page."""
        self.driver.get(server.link)
        self.one('[name=who]').send_keys(who + '\n')
        self.until(lambda: '/who' not in self.driver.current_url)
        self.go(server, path)

    def go(self, server: Server, path: str) -> None:
        self.driver.get(f'http://127.0.0.1:{server.port}{path}')

    def one(self, selector: str) -> WebElement:
        return self.until(lambda: self.all(selector))[0]

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements('css selector', selector)

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def until(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        return WebDriverWait(self.driver, timeout, 0.05, [StaleElementReferenceException]).until(lambda _: condition())

    def text(self) -> str:
        return self.driver.find_element('tag name', 'body').text

    def troubles(self) -> list[str]:
        """Return what the browser complained about."""
        return [entry['message'] for entry in self.driver.get_log('browser') if entry['level'] == 'SEVERE']


@pytest.fixture(scope='session')
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Browser]]:
    """Return what opens a browser of one more person."""
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f'{program} is missing: apt-get install chromium chromium-driver')
    browsers: list[Browser] = []

    def open_browser() -> Browser:
        browsers.append(Browser(tmp_path_factory.mktemp('profile')))
        return browsers[-1]

    yield open_browser
    for browser in browsers:
        browser.driver.quit()


@pytest.fixture(scope='session')
def shared_browser(open_browser: Callable[[], Browser]) -> Browser:
    return open_browser()


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """One person's browser, without cookies from before."""
    shared_browser.driver.get('about:blank')
    shared_browser.driver.execute_cdp_cmd('Network.clearBrowserCookies', {})
    shared_browser.driver.get_log('browser')
    yield shared_browser
    shared_browser.driver.get('about:blank')

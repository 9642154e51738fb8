"""How long do people wait for the web page of a folder of 10,000 episodes?

Opens the grid in Debian's Chromium, from the start of the navigation until every picture of the page is shown; filters
and turns pages; labels by key, from the key until the mark, which must be in the journal by then. The bags are real but
small, and made for it. Needs `apt-get install chromium chromium-driver`. Wanted: the grid opens in less than a second.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from measuring import load
from rich.console import Console
from rich.table import Table
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CAMERAS, load_cell
from mtopt_core.episode import Action, Episode, EpisodeInfo, Observation, Step
from mtopt_core.episode_bag import write_episode
from mtopt_core.images import encode_jpeg
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import load_tasks
from mtopt_web.thumbnails import Thumbnails

CHROMIUM, DRIVER = '/usr/bin/chromium', '/usr/bin/chromedriver'
CELLS = 60
TIMEOUT = 60.0  # s
WANTED = 1.0  # s
# Told in the page itself: asking from outside, again and again, would take its time.
WATCH = """
const look = () => {
  const pictures = [...document.querySelectorAll('.board-cell img')];
  const shown = pictures.length >= %d && pictures.every((one) => one.complete && one.naturalWidth);
  if (shown) window.opened = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def make_bags(data: DataFolder, episodes: int, image_size: int) -> None:
    """Write bags of one step, whose pictures are all different, and index them."""
    rng, tasks, cell = np.random.default_rng(0), load_tasks(), load_cell()
    scenes = rng.integers(0, 256, (64, 8, 8, 3), np.uint8)
    with progress_bar('Writing bags') as report:
        for number in range(episodes):
            report(number, episodes)
            picture = np.kron(np.roll(scenes[number % 64], number // 64, 1), np.ones((image_size // 8,) * 2 + (1,)))
            jpeg = encode_jpeg(picture.astype(np.uint8), 90)
            stamp = (number + 1) * 10**9
            seen = [
                Observation(at, dict.fromkeys(CAMERAS, jpeg), np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1)
                for at in (stamp, stamp + 5 * 10**8)
            ]
            task = tasks.tasks[number % len(tasks)]
            day = time.strftime('%Y%m%dT%H%M%S', time.gmtime(1.79e9 + 100 * number))
            info = EpisodeInfo(
                f'{day}_robot{number % 3}_{number:08d}', f'robot{number % 3}', task.name, task.skill, 'scripted'
            )
            write_episode(data.bags, Episode(info, (Step(seen[0], Action()),), seen[1]), cell)
    catalogue = Catalogue(data)
    with progress_bar('Indexing bags') as report:
        catalogue.refresh(report)
    thumbnails = Thumbnails(data)
    thumbnails.make(row.episode_id for row in catalogue.episodes())
    thumbnails.close()


class Visit:
    """One browser at one server.

    Args:
        data: The folder served.
        profile: Folder for the browser's own files.
    """

    def __init__(self, data: DataFolder, profile: Path) -> None:
        self._data = data
        command = [sys.executable, '-m', 'mtopt_core.cli', 'web', '--data', str(data.root), '--port', '0']
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        self._link = self._server.stdout.readline().split()[1]
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        quiet = ('--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic')
        for switch in (
            '--headless=new',
            '--no-sandbox',
            '--disable-gpu',
            '--no-first-run',
            '--window-size=1366,768',
            *quiet,
        ):
            options.add_argument(switch)
        options.add_argument(f'--user-data-dir={profile}')
        self._browser = webdriver.Chrome(options=options, service=Service(DRIVER))
        self._browser.execute_cdp_cmd('Page.addScriptToEvaluateOnNewDocument', {'source': WATCH % CELLS})
        self._browser.get(self._link)
        self._browser.find_element('name', 'who').send_keys('bench\n')
        self.until(lambda: '/who' not in self._browser.current_url)
        self.open_grid()

    def close(self) -> None:
        """End both."""
        self._browser.quit()
        self._server.terminate()
        self._server.wait()

    def open_grid(self) -> float:
        """Open the page anew; return s from the start of the navigation until every picture is shown."""
        parts = urlsplit(self._link)
        self._browser.get(f'http://{parts.netloc}/label')
        return float(self.until(lambda: self._browser.execute_script('return window.opened'))) / 1e3

    def filter(self, verdict: str) -> float:
        """Choose what is said of the episodes; return s until other ones are shown."""
        before = self._first()
        self._browser.find_element('css selector', '.filter-verdict').click()
        choice = self.until(
            lambda: [
                item for item in self._browser.find_elements('css selector', '.q-menu .q-item') if item.text == verdict
            ]
        )[0]
        return self._timed(choice.click, lambda: self._first() != before)

    def turn(self) -> float:
        """Turn the page; return s until the next is shown."""
        before = self._first()
        return self._timed(lambda: self._press('\ue00f'), lambda: self._first() not in ('', before))

    def label(self) -> tuple[float, bool]:
        """Label the episode in focus; return s until it is marked, and whether the journal had it by then."""
        cell = self._browser.find_element('css selector', '.board-cell.focused')
        episode_id = str(cell.get_attribute('data-episode'))
        seconds = self._timed(lambda: self._press('s'), lambda: cell.get_attribute('data-state') == 'success')
        return seconds, episode_id in self._data.journal.read_text().splitlines()[-1]

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something to become true, and return it."""
        deadline = time.monotonic() + TIMEOUT
        while not (found := condition()):
            assert time.monotonic() < deadline, 'it does not happen'
            time.sleep(0.005)
        return found

    def _timed(self, act: Callable[[], object], done: Callable[[], object]) -> float:
        start = time.perf_counter()
        act()
        self.until(done)
        return time.perf_counter() - start

    def _first(self) -> str:
        return str(self._browser.execute_script("return document.querySelector('.board-cell')?.dataset.episode ?? ''"))

    def _press(self, key: str) -> None:
        ActionChains(self._browser, duration=0).send_keys(key).perform()


def main(
    episodes: Annotated[int, typer.Option(min=200, help='Bags in the folder.')] = 10_000,
    image_size: Annotated[int, typer.Option(min=16, help='Side of their pictures, px.')] = 64,
    rounds: Annotated[int, typer.Option(min=3, help='Times each is done.')] = 15,
    keep: Annotated[Path | None, typer.Option(help='Folder for the bags, used again when it has them.')] = None,
) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        data = DataFolder(keep or Path(folder, 'data'))
        if not data.bags.exists():
            make_bags(data, episodes, image_size)
        visit = Visit(data, Path(folder, 'profile'))
        try:
            opened = [visit.open_grid() for _ in range(rounds)]
            turned = [visit.turn() for _ in range(rounds)]
            labelled = [visit.label() for _ in range(rounds)]
            filtered = [visit.filter(('unlabelled', 'labelled')[number % 2]) for number in range(4)]
        finally:
            visit.close()
    table = Table('', title=f'a page of {CELLS} of {episodes:,} episodes, in Chromium')
    for column in ('median', 'worst'):
        table.add_column(column, justify='right')
    _row(table, 'grid open, every picture shown', opened)
    _row(table, 'next page', turned)
    _row(table, 'filter', filtered)
    _row(table, 'key until mark, label synced', [seconds for seconds, _ in labelled])
    Console().print(table)
    late = sum(not stored for _, stored in labelled)
    print(f'{late} of {len(labelled)} marks came before the label was in the journal (wanted: none)')
    print(f'wanted: the grid opens in less than {WANTED:g} s. {load()}')
    if late or statistics.median(opened) > WANTED:
        raise typer.Exit(1)


def _row(table: Table, title: str, seconds: Sequence[float]) -> None:
    table.add_row(title, f'{1e3 * statistics.median(seconds):.0f} ms', f'{1e3 * max(seconds):.0f} ms')


if __name__ == '__main__':
    os.environ.setdefault('SE_AVOID_STATS', 'true')
    typer.run(main)

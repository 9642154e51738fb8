"""A robot here, the trainer there: bags and weights cross a slow link that loses packets and is cut for a while.

Two machines, each with a network, shared memory and mounts of its own, joined by veth pairs and a road between them
(road.py). Needs to be root; `make network` runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import Machine, Road

from mtopt_core.environment import free_domain
from mtopt_core.episode_bag import episode_ids, read_episode

DELAY, LOSS = 0.02, 0.01
CUT = 15.0  # s
TIMEOUT = 300.0
MODULE = (sys.executable, '-m')


class Site:
    """Both machines with everything that runs on them."""

    def __init__(self, folder: Path) -> None:
        self.robot_data, self.trainer_data = folder / 'robot', folder / 'trainer'
        for path in (self.robot_data, self.trainer_data, folder / 'road'):
            path.mkdir()
        self.robot = Machine(self.robot_data, [self.trainer_data])
        self.trainer = Machine(self.trainer_data, [self.robot_data])
        self.road = Road(folder / 'road', self.robot, self.trainer, DELAY, LOSS)
        domain = str(free_domain())
        here = {'ROS_DOMAIN_ID': domain, 'MTOPT_PEERS': '10.77.0.2'}
        there = {'ROS_DOMAIN_ID': domain, 'MTOPT_PEERS': '10.77.0.1'}
        for variable in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'ROS_STATIC_PEERS', 'ROS_AUTOMATIC_DISCOVERY_RANGE'):
            os.environ.pop(variable, None)  # what is in force for this machine is not for those

        mailbox = self.trainer_data / 'mailbox'
        mailbox.mkdir()
        daemon = self.trainer_data / 'rsyncd.conf'
        daemon.write_text(f'use chroot = no\n[mailbox]\npath = {mailbox}\nread only = no\nuid = root\ngid = root\n')
        self.trainer.start('rsync', 'rsync', '--daemon', '--no-detach', f'--config={daemon}')
        trainer = str(self.trainer_data)
        receive = ('receive', '--data', trainer, '--mailbox', str(mailbox), '--follow', '--period', '0.5')
        self.trainer.start('receive', *MODULE, 'mtopt_core.cli', 'transfer', *receive, **there)
        parameters = {
            'bags': trainer,
            'out': f'{trainer}/models',
            'outcomes': '[simulator]',
            'changes': '[export_seconds=8, batch=16]',
            'threads': '1',
        }
        arguments = [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]
        self.trainer.start('trainer', *MODULE, 'mtopt_policy.trainer_node', '--ros-args', *arguments, **there)
        self.heard_file = self.trainer_data / 'heard.json'
        listener = Path(__file__).with_name('listener.py')
        self.trainer.start('listener', sys.executable, str(listener), 'robot1', str(self.heard_file), **there)

        robot = str(self.robot_data)
        send = ('send', '--data', robot, '--to', 'rsync://10.77.0.2/mailbox', '--follow', '--period', '0.5')
        self.robot.start('send', *MODULE, 'mtopt_core.cli', 'transfer', *send, **here)
        run = ('run', '--data', robot, '--grade-with', 'simulator', '--policy', 'curriculum', '--image-size', '48')
        self.robot.start('run', *MODULE, 'mtopt_core.cli', *run, **here)

    def heard(self, what: str) -> int:
        return json.loads(self.heard_file.read_text()).get(what, 0) if self.heard_file.exists() else 0

    def wait_until(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            ended = self.robot.ended() + self.trainer.ended()
            assert not ended, '\n'.join(ended)
            assert time.monotonic() < deadline, 'nothing happened in time'
            time.sleep(0.2)
        return value

    def close(self) -> None:
        self.robot.close()
        self.trainer.close()
        self.road.close()


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Iterator[Site]:
    if os.geteuid():
        pytest.skip('making machines takes root')
    missing = [program for program in ('unshare', 'nsenter', 'ip', 'rsync') if shutil.which(program) is None]
    if missing:
        pytest.skip(f'{", ".join(missing)} missing')
    site = Site(tmp_path_factory.mktemp('site'))
    yield site
    site.close()


def here(site: Site) -> list[str]:
    return episode_ids(site.robot_data / 'bags')


def there(site: Site) -> list[str]:
    return episode_ids(site.trainer_data / 'bags')


def test_the_machines_share_neither_files_nor_memory(site):
    assert site.robot.run('ls', str(site.trainer_data)) == ''
    assert site.trainer.run('ls', str(site.robot_data)) == ''
    site.robot.run('touch', '/dev/shm/mine')
    assert 'mine' not in site.trainer.run('ls', '/dev/shm')


def test_the_robot_is_seen_from_the_other_machine_as_jpeg_over_named_peers(site):
    site.wait_until(lambda: site.heard('statuses') > 3 and site.heard('images') > 10)


def test_finished_bags_reach_the_trainer_checked_and_acknowledged(site):
    site.wait_until(lambda: len(there(site)) >= 3)
    assert all(read_episode(site.trainer_data / 'bags' / name).steps for name in there(site)[:3])
    site.wait_until(lambda: len(list((site.robot_data / 'acknowledged').glob('*'))) >= 3)


def test_weights_come_back_and_the_robot_acts_by_them(site):
    site.wait_until(lambda: list((site.robot_data / 'models').glob('policy/[!.]*/manifest.json')))

    def acted() -> list[str]:
        infos = [read_episode(site.robot_data / 'bags' / name).info for name in here(site)[-8:]]
        return [info.episode_id for info in infos if info.policy == 'learned' and info.model_version]

    site.wait_until(acted)


def test_a_cut_link_stops_neither_robot_nor_trainer_and_nothing_is_lost(site):
    site.road.cut()
    collected, arrived = len(here(site)), len(there(site))
    time.sleep(CUT)
    site.wait_until(lambda: len(here(site)) > collected + 1)
    assert len(there(site)) - arrived <= 2, 'nothing crosses a cut link but what had arrived and was being checked'
    statuses = site.heard('statuses')
    site.road.mend()
    names = here(site)
    site.wait_until(lambda: set(names) <= set(there(site)))
    site.wait_until(lambda: set(names) <= {path.name for path in (site.robot_data / 'acknowledged').glob('*')})
    site.wait_until(lambda: site.heard('statuses') > statuses + 3)


def test_what_arrived_crossed_the_road(site):
    bags = sum(file.stat().st_size for file in (site.trainer_data / 'bags').rglob('*') if file.is_file())
    weights = sum(file.stat().st_size for file in (site.robot_data / 'models').rglob('*.safetensors'))
    at_trainer, at_robot = site.trainer.counters('west'), site.robot.counters('east')
    print(f'bags {bags} bytes, weights {weights} bytes; trainer {at_trainer}, robot {at_robot}')
    assert at_trainer['received'] > bags > 0
    assert at_robot['received'] > weights > 0
    assert at_robot['sent'] > bags

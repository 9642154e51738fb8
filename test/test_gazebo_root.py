"""Where Gazebo's Debian tree comes from, and what is said where there is none. Nothing here makes a tree."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading

import gazebo_root
import pytest
from gazebo_root import MIRROR_ENVIRONMENT_VARIABLE, RootError, mirror_with_suite, mirrors
from sources import ROOT

from mtopt_sim.errors import SimulationError
from mtopt_sim.gazebo.installation import (
    ROOT_ENVIRONMENT_VARIABLE,
    find_installation,
    host_installation,
    installation_in,
)

with_apt = pytest.mark.skipif(shutil.which('apt-get') is None, reason='apt is not here')


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server of a folder, and apt told that it finds its packages in several places of it."""
    monkeypatch.delenv(MIRROR_ENVIRONMENT_VARIABLE, raising=False)
    folder = tmp_path / 'web'
    folder.mkdir()
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        parts = tmp_path / 'apt'
        parts.mkdir()
        (parts / 'a.list').write_text(f'deb [trusted=yes] {address}/tools/ bullseye main\n')
        deb822 = f'Types: deb\nURIs: {address}/gone {address}/mirror/debian\nSuites: bookworm\nComponents: main\n'
        (parts / 'b.sources').write_text(deb822)
        settings = tmp_path / 'apt.conf'
        settings.write_text(f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{parts}";\n')
        monkeypatch.setenv('APT_CONFIG', str(settings))
        yield folder, address
        server.shutdown()


def offer(folder, origin):
    release = folder / 'dists' / 'bullseye' / 'Release'
    release.parent.mkdir(parents=True)
    release.write_text(f'Origin: {origin}\nCodename: bullseye\n')


@with_apt
def test_mirrors_are_those_of_apt_in_either_of_its_formats(web):
    _, address = web
    assert mirrors() == [f'{address}/tools', f'{address}/gone', f'{address}/mirror/debian']


@with_apt
def test_the_mirror_is_one_that_has_debians_suite_though_apt_uses_another(web):
    folder, address = web
    offer(folder / 'tools', 'Somebody else')
    offer(folder / 'mirror' / 'debian', 'Debian')
    assert mirror_with_suite() == f'{address}/mirror/debian'


@with_apt
def test_when_none_has_it_all_are_named_and_what_to_set(web):
    _, address = web
    with pytest.raises(RootError, match=rf'{address}/gone, .*Set MTOPT_DEBIAN_MIRROR to .* or copy \S+\.tar\.zst'):
        mirror_with_suite()


def test_the_mirror_that_is_given_counts(web, monkeypatch):
    folder, address = web
    offer(folder / 'other', 'Debian')
    monkeypatch.setenv(MIRROR_ENVIRONMENT_VARIABLE, f'{address}/other/')
    assert mirror_with_suite() == f'{address}/other'


def test_a_machine_that_cannot_have_gazebo_is_told_apart_from_a_failure(tmp_path):
    refusing = tmp_path / 'unshare'
    refusing.write_text('#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2; exit 1\n')
    refusing.chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'XDG_CACHE_HOME': str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'gazebo_root.py'], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == os.EX_UNAVAILABLE
    assert 'Operation not permitted. The server needs a network of its own' in ended.stderr
    assert not list(tmp_path.glob('mtopt/*'))


def test_the_recipe_names_all_that_the_tree_is_made_of():
    script = gazebo_root.furnishing()
    assert all(name in script for name in (*gazebo_root.PACKAGES, *gazebo_root.MESSAGE_PACKAGES))
    assert script.rstrip().endswith(f'echo {gazebo_root.RECIPE} > /opt/mtopt/recipe')


def test_the_trees_gazebo_comes_before_the_machines_own_and_one_that_is_named_before_both(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv(ROOT_ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(SimulationError, match='make gazebo-root'):
        find_installation()
    for installation in (host_installation(), installation_in(tmp_path / 'mtopt' / 'gazebo-11')):
        installation.messages.mkdir(parents=True)
        installation.stamp.write_text('made')
        assert find_installation() == installation
    monkeypatch.setenv(ROOT_ENVIRONMENT_VARIABLE, str(tmp_path / 'elsewhere'))
    with pytest.raises(SimulationError, match='elsewhere'):
        find_installation()

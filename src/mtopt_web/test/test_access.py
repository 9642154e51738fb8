"""Nobody passes without the key, from another site or under another name; whatever is asked, the server answers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import websockets.sync.client
from websockets.exceptions import InvalidStatus

from mtopt_core.episode_bag import episode_ids
from mtopt_core.paths import DataFolder


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory, record: Callable) -> DataFolder:
    data = DataFolder(tmp_path_factory.mktemp('data'))
    for number in range(3):
        record(data, number)
    return data


@pytest.fixture(scope='module')
def server(data: DataFolder, start_on: Callable):
    """One server for all: nothing here changes it."""
    return start_on(data)


PATHS = ('/', '/label', '/who', '/pictures/x', '/_nicegui_ws/socket.io/?EIO=4&transport=polling')


def test_the_link_gives_a_cookie_and_leads_to_the_page_without_the_key(server) -> None:
    status, headers, _ = server.ask(server.link.partition(str(server.port))[2])
    assert (status, headers['location']) == (303, '/')
    assert re.search('httponly', headers['set-cookie'], re.IGNORECASE)
    assert 'samesite=lax' in headers['set-cookie'].lower()
    assert server.ask('/label', Cookie=headers['set-cookie'].partition(';')[0])[0] == 307


def test_it_listens_on_this_machine_alone(server) -> None:
    with Path('/proc/net/tcp').open() as table:
        listening = [line.split()[1] for line in table if line.split()[3] == '0A']
    assert [address for address in listening if address.endswith(f':{server.port:04X}')] == [
        f'0100007F:{server.port:04X}'
    ]


@pytest.mark.parametrize('path', PATHS)
def test_without_the_key_nothing_is_shown(server, path: str) -> None:
    status, _, body = server.ask(path)
    assert status == 403
    assert b'Open the link that' in body
    assert server.ask(path, Cookie=f'mtopt-{server.port}=guess')[0] == 403


@pytest.mark.parametrize('key', ['', 'wrong', 'é', '%00', 'x' * 5000])
def test_a_wrong_key_is_refused(server, key: str) -> None:
    status, headers, body = server.ask('/?key=' + ''.join(f'%{byte:02x}' for byte in key.encode()))
    assert status == 403
    assert 'set-cookie' not in headers
    assert b'key' in body


def test_another_site_and_another_name_are_refused_even_with_the_cookie(server) -> None:
    cookie = server.cookie()
    assert server.ask('/label', Cookie=cookie, Origin='http://evil.example')[0] == 403
    assert server.ask('/label', Cookie=cookie, Origin='null')[0] == 403
    assert server.ask('/label', Cookie=cookie, Origin=f'http://127.0.0.1:{server.port + 1}')[0] == 403
    assert server.ask('/label', Cookie=cookie, Host=f'evil.example:{server.port}')[0] == 403
    assert server.ask('/label', Cookie=cookie, Host='[::1')[0] in (400, 403)
    assert server.ask('/label', Cookie=cookie, Host=f'localhost:{server.port}')[0] == 307
    origin = f'http://127.0.0.1:{server.port}'
    assert server.ask('/who', 'POST', 'who=Ada', Cookie=cookie, Origin=origin, **FORM)[0] == 303


FORM = {'Content_Type': 'application/x-www-form-urlencoded'}


def test_a_web_socket_needs_cookie_and_origin_too(server) -> None:
    cookie = server.cookie()
    address = f'ws://127.0.0.1:{server.port}/_nicegui_ws/socket.io/?EIO=4&transport=websocket'

    def connect(**headers: str) -> None:
        with websockets.sync.client.connect(address, additional_headers=headers, proxy=None) as socket:
            assert socket.recv(5).startswith('0')

    connect(Cookie=cookie)
    connect(Cookie=cookie, Origin=f'http://127.0.0.1:{server.port}')
    for headers in ({}, {'Cookie': 'x=y'}, {'Cookie': cookie, 'Origin': 'http://evil.example'}):
        with pytest.raises(InvalidStatus, match='403'):
            connect(**headers)


@pytest.mark.parametrize('target', ['https://evil.example', '//evil.example', '/nowhere', '/label?x', '../label'])
def test_nobody_is_led_to_another_site(server, target: str) -> None:
    cookie = server.cookie()
    status, headers, _ = server.ask(f'/who?next={target}', 'POST', 'who=Ada', Cookie=cookie, **FORM)
    assert (status, headers['location']) == (303, '/')
    status, headers, _ = server.ask('//evil.example' + server.link.partition(str(server.port))[2], Cookie=cookie)
    assert not headers.get('location', '').startswith('//')


@pytest.mark.parametrize('name', ['', '   ', 'x' * 41, 'Ada%00', 'Ada%0aGrace'])
def test_a_name_that_cannot_be_one_is_asked_for_again(server, name: str) -> None:
    status, headers, body = server.ask('/who', 'POST', f'who={name}', Cookie=server.cookie(), **FORM)
    if name == 'Ada%0aGrace':  # a line break counts as a space
        assert status == 303
    else:
        assert (status, 'set-cookie' in headers) == (422, False)
        assert b'Please give a name' in body


def test_a_name_is_shown_as_text(server) -> None:
    cookie = server.cookie()
    _, headers, _ = server.ask('/who', 'POST', 'who=%3Cb%3EAda', Cookie=cookie, **FORM)
    named = f'{cookie}; {headers["set-cookie"].partition(";")[0]}'
    assert b'&lt;b&gt;Ada' in server.ask('/who', Cookie=named)[2]
    assert b'<b>Ada' not in server.ask('/label', Cookie=named)[2]


def test_pictures_are_those_of_the_bag_and_no_path_leads_elsewhere(server, data: DataFolder) -> None:
    cookie = server.cookie()
    episode = episode_ids(data.bags)[0]
    status, _, body = server.ask(f'/pictures/{episode}', Cookie=cookie)
    assert (status, body) == (200, b'{"main":3,"wrist":3,"side_left":3,"side_right":3}')
    status, headers, body = server.ask(f'/pictures/{episode}/main/0', Cookie=cookie)
    assert (status, headers['content-type'], body[:2]) == (200, 'image/jpeg', b'\xff\xd8')
    outside = (
        '..',
        '%2e%2e',
        '..%2f..%2fetc',
        '%2fetc%2fpasswd',
        f'..%2fbags%2f{episode}',
        '.',
        '%00',
        f'{episode}%2f',
    )
    for name in outside:
        for rest in ('', '/main/0', '/..%2f..%2f/0'):
            assert server.ask(f'/pictures/{name}{rest}', Cookie=cookie)[0] in (403, 404, 422), name
    for rest in ('main/3', 'main/-1', 'nose/0', '..%2fmain/0'):
        assert server.ask(f'/pictures/{episode}/{rest}', Cookie=cookie)[0] == 404
    assert server.ask(f'/pictures/{episode}/main/one', Cookie=cookie)[0] == 422


def test_whatever_is_asked_it_goes_on(server, data: DataFolder) -> None:
    """Fuzzed: no request is answered by a failure of the server's own, and none of them stops it."""
    rng = random.Random(0)
    cookie, episode = server.cookie(), episode_ids(data.bags)[0]
    pieces = [
        '/',
        '..',
        '%2e',
        '%2f',
        '%00',
        '%',
        '?',
        '&',
        '=',
        'next',
        'key',
        'pictures',
        episode,
        'label',
        'who',
        "'",
        '"',
    ]
    pieces += [
        'main',
        '0',
        '-1',
        '9' * 30,
        'é',
        '\\',
        ';',
        '<script>',
        'live',
        'robot1',
        '_nicegui',
        'x' * 300,
        ' OR 1=1',
        '#',
        '[]',
        '1e9',
    ]
    for number in range(400):
        path = '/' + ''.join(rng.choice(pieces) for _ in range(rng.randint(0, 6)))
        path = path.encode().decode('latin-1').replace(' ', '%20')
        path = ''.join(character if character.isascii() else f'%{ord(character):02x}' for character in path)
        method = rng.choice(['GET', 'GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'])
        body = None if method in ('GET', 'HEAD') else ''.join(rng.choice(pieces) for _ in range(rng.randint(0, 9)))
        headers = {
            'Cookie': cookie if rng.random() < 0.9 else 'x',
            'Content_Type': rng.choice([*FORM.values(), 'a/b']),
        }
        status, _, _ = server.ask(path, method, body, **headers)
        assert status < 500, (number, method, path, body)
    assert server.process.poll() is None
    assert server.ask('/label', Cookie=cookie)[0] == 307


def test_a_port_that_is_taken_is_named(server, start: Callable) -> None:
    with pytest.raises(AssertionError, match=rf'port {server.port} cannot be used: Address already in use'):
        start('--port', str(server.port))


def test_it_ends_in_order(start: Callable) -> None:
    server = start()
    assert server.stop() == 0
    assert server.log.read_text().strip() == ''

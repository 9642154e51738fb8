import shlex
import sys
import time

import pytest

from mtopt_collector.help_call import HelpCall, HelpCallError
from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import DataFolder

NOTE = 'import os, sys; open(sys.argv[1], "a").write("|".join(os.environ["MTOPT_" + n] for n in sys.argv[2:]) + "\\n")'


def lines(file, number):
    deadline = time.monotonic() + 10
    while not file.exists() or len(file.read_text().splitlines()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return file.read_text().splitlines()


def test_the_command_is_told_robot_message_and_pictures_and_when_nobody_is_needed_any_more(tmp_path):
    file = tmp_path / 'a note'
    command = shlex.join([sys.executable, '-c', NOTE, str(file), 'ROBOT', 'MESSAGE', 'PICTURES'])
    call = HelpCall('robot1', command, DataFolder(tmp_path))
    call.call('the bin is empty; $(touch me)', {'main': b'jpeg'})
    pictures = tmp_path / 'help' / 'robot1'
    assert lines(file, 1) == [f'robot1|the bin is empty; $(touch me)|{pictures}']
    assert (pictures / 'main.jpg').read_bytes() == b'jpeg'
    call.call('', {})
    assert lines(file, 2)[1] == f'robot1||{pictures}'
    assert not call.message


def test_without_a_command_the_call_is_open_all_the_same(tmp_path):
    call = HelpCall('robot1', '', DataFolder(tmp_path))
    call.call('stuck', {})
    assert call.message == 'stuck'


def test_a_command_that_is_not_there_is_named_at_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match='no program /nonexistent/notify'):
        HelpCall('robot1', '/nonexistent/notify --urgent', DataFolder(tmp_path))


def test_a_command_that_is_gone_when_it_is_needed_is_told_with_what_it_was_for(tmp_path):
    command = tmp_path / 'notify'
    command.write_text('#!/bin/sh\n')
    command.chmod(0o755)
    call = HelpCall('robot1', str(command), DataFolder(tmp_path))
    command.unlink()
    with pytest.raises(HelpCallError, match=r'notify cannot be run: No such file.*nobody was told: stuck'):
        call.call('stuck', {})
    assert call.message == 'stuck'


def test_a_command_that_cannot_be_split_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match='help_command'):
        HelpCall('robot1', 'notify "urgent', DataFolder(tmp_path))

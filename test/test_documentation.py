"""The documentation says what the sources say."""

import message_reference
import pytest
from sources import ROOT

from mtopt_core.episode_bag import TOPICS

INTERFACES = sorted(path for kind in message_reference.KINDS for path in (ROOT / 'src/mtopt_msgs' / kind).iterdir())


def test_the_message_reference_is_that_of_the_messages():
    told = 'run `python tools/message_reference.py`'
    assert message_reference.PAGE.read_text() == message_reference.reference(), told


@pytest.mark.parametrize('path', INTERFACES, ids=lambda path: path.stem)
def test_every_field_and_constant_is_explained(path):
    for line in path.read_text().splitlines():
        assert line in ('', '---') or '#' in line, line


@pytest.mark.parametrize('topic', TOPICS)
def test_every_recorded_topic_is_in_the_interfaces(topic):
    assert f'| `{topic}` |' in (ROOT / 'docs' / 'interfaces.md').read_text()

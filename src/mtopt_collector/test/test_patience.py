"""A person is called for what lasts, and not for what goes by itself."""

import pytest

from mtopt_collector.patience import Patience


class Trouble:
    def __init__(self):
        self.now, self.calls = 0.0, []
        self.patience = Patience(10.0, self.calls.append, lambda: self.now)

    def last(self, now, reason='disk full'):
        self.now = now
        self.patience.lasts(reason)


@pytest.fixture
def trouble():
    return Trouble()


def test_what_lasts_too_long_is_called_for_with_its_newest_reason(trouble):
    trouble.last(0.0)
    trouble.last(10.0)
    assert not trouble.calls
    trouble.last(10.1, 'no room')
    assert trouble.calls == ['no room']


def test_what_went_by_itself_begins_anew(trouble):
    trouble.last(0.0)
    trouble.patience.is_over()
    trouble.last(11.0)
    trouble.last(21.0)
    assert not trouble.calls
    trouble.last(21.1)
    assert trouble.calls == ['disk full']


def test_trouble_that_begins_with_the_clock_is_not_forgotten(trouble):
    trouble.last(0.0)
    trouble.last(5.0)
    trouble.last(11.0)
    assert trouble.calls == ['disk full']

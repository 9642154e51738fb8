"""What counts for all tests: on a machine that is to run every one, none skips itself without a word."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MTOPT_NO_SKIPS set, fail a test that is skipped, unless it is marked `may_skip`."""
    report = yield
    if report.skipped and os.environ.get('MTOPT_NO_SKIPS') and not item.get_closest_marker('may_skip'):
        report.outcome = 'failed'
        report.longrepr = f'MTOPT_NO_SKIPS is set, and this was skipped: {report.longreprtext}'
    return report

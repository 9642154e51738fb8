"""The page Detector: how well each version judges, task by task, and the episodes on which people disagree with it."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from mtopt_core.episode_search import EpisodeFilter, Judged
from mtopt_core.errors import MtoptError
from mtopt_web.board_work import BoardWork
from mtopt_web.detector_versions import DetectorVersion, TaskCard, read_versions
from mtopt_web.drawings import calibration_curve, label_counts
from mtopt_web.drift_watch import drift_of
from mtopt_web.frame import complain
from mtopt_web.page import Page, Visit

NONE = ''
"""Choice of nothing to compare with."""
COLUMNS = {
    'task': 'task',
    'labels': 'labels, success / failure',
    'precision': 'precision',
    'recall': 'recall',
    'false_positives': 'false positives',
    'false_positive_bound': 'at most (95 %)',
    'unsure': 'unsure',
    'calibration_error': 'calibration error',
    'threshold': 'threshold',
}
_SHARES = ('precision', 'recall', 'false_positives', 'false_positive_bound', 'unsure', 'calibration_error')


class DetectorPage:
    """One person's visit of the page."""

    _version: ui.select
    _other: ui.select
    _task: ui.select
    _table: ui.table
    _curve: ui.html
    _counts: ui.html
    _work: BoardWork

    def __init__(self, visit: Visit) -> None:
        self._visit, self._site = visit, visit.site
        self._versions: dict[str, DetectorVersion] = {}

    async def build(self) -> None:
        """Fill the page."""
        versions, troubles = await asyncio.to_thread(read_versions, self._site.checkpoints, self._site.tasks)
        self._versions = {version.name: version for version in versions}
        if versions:
            troubles += [_alarm(moved) for moved in await self._moved(versions[0])]
        for trouble in troubles:
            ui.label(trouble).classes('site-trouble').props('role=alert')
        if not versions:
            ui.label(
                f'There is no detector in {self._site.checkpoints} yet. Label some episodes, then press “Train” on '
                'the page Review, or run `mtopt detector train`.'
            ).classes('board-empty')
            return
        names = {version.name: _title(version) for version in versions}
        with ui.row().classes('filters'):
            self._version = ui.select(names, value=versions[0].name, label='Version', on_change=self._show)
            before = versions[0].started_from if versions[0].started_from in names else NONE
            self._other = ui.select(
                {NONE: 'nothing', **names}, value=before, label='Compare with', on_change=self._show
            )
            self._task = ui.select(
                list(self._site.tasks.names), value=self._site.tasks.names[0], label='Task', on_change=self._show
            )
            for select, name in ((self._version, 'version'), (self._other, 'other'), (self._task, 'task')):
                select.props('dense outlined options-dense').classes(f'filter-{name}')
        columns = [
            {'name': name, 'label': label, 'field': name, 'align': 'left' if name == 'task' else 'right'}
            for name, label in COLUMNS.items()
        ]
        self._table = ui.table(columns=columns, rows=[], row_key='task', title='On test episodes of the skill')
        self._table.props('dense flat wrap-cells').classes('card detector-tasks')
        with ui.row().classes('drawings'):
            with ui.column().classes('card'):
                ui.label('Calibration').classes('card-title')
                self._curve = ui.html('', sanitize=False)
            with ui.column().classes('card'):
                ui.label('Labels, success / failure').classes('card-title')
                self._counts = ui.html('', sanitize=False)
        ui.label('Where people and the newest grading disagree: say again what you see').classes('card-title')
        self._work = BoardWork(self._visit)
        self._work.board.show_opinions(True)
        await self._show()
        self._work.follow()

    async def _moved(self, version: DetectorVersion) -> list[str]:
        try:
            return await asyncio.to_thread(drift_of, self._site, version)
        except MtoptError as error:
            complain(error)
            return []

    async def _show(self, *_event: Any) -> None:
        version = self._versions[self._version.value]
        other = self._versions.get(self._other.value)
        task = self._task.value
        self._table.rows = [
            _row(name, card, other.cards.get(name) if other else None) for name, card in version.cards.items()
        ]
        curves = [(one.name, one.cards[task]) for one in (version, other) if one and task in one.cards]
        self._curve.content = calibration_curve(curves)
        self._counts.content = label_counts(version.cards)
        await self._work.open(EpisodeFilter(task, skill=self._site.tasks[task].skill, judged=Judged.DISAGREEMENT))


def _alarm(moved: str) -> str:
    return f'{moved}. Label what the page Review asks about this task, and train again.'


def _title(version: DetectorVersion) -> str:
    return f'{version.name}, {version.episodes} episodes'


def _row(task: str, card: TaskCard, before: TaskCard | None) -> dict[str, str]:
    row = {'task': task, 'labels': f'{card.successes} / {card.failures}'}
    row['threshold'] = '–' if card.threshold is None else f'{card.threshold:.2f}'
    for name in _SHARES:
        value, then = getattr(card, name), None if before is None else getattr(before, name)
        row[name] = '–' if value is None else f'{100 * value:.1f} %'
        if value is not None and then is not None:
            row[name] += f' ({100 * (value - then):+.1f})'
    return row


async def _build(visit: Visit) -> None:
    await DetectorPage(visit).build()


PAGE = Page('Detector', '/detector', 40, _build)

"""What `mtopt detector` shows of a detector's figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mtopt_success_detector.evaluation import MANY, TaskMetrics, Threshold
from mtopt_success_detector.manifest import DetectorManifest

COLUMNS = ('n+', 'n-', 'AUC', 'bal.', 'prec.', 'rec.', 'FPR', '<', 'uns.', 'ECE', 'cuts')


def show_metrics(held_out: Mapping[str, TaskMetrics], manifest: DetectorManifest, title: str = '') -> None:
    """Print every task's figures, their mean and the worst of each, and what a reader must know beside them.

    Args:
        held_out: The figures.
        manifest: Of the detector.
        title: What the figures are of.
    """
    # Twelve columns in the 80 of a terminal: one space between them and none to spare.
    table = Table(title=title or "Held-out episodes of the task's skill", box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column('task', no_wrap=True, min_width=max(map(len, held_out), default=0))
    for column in COLUMNS:
        table.add_column(column, justify='right', no_wrap=True)
    for task, metrics in held_out.items():
        table.add_row(
            task,
            str(metrics.successes),
            str(metrics.failures),
            _number(metrics.auc),
            _percent(metrics.balanced_accuracy),
            _percent(metrics.precision),
            _percent(metrics.recall),
            _percent(metrics.false_positive_rate),
            _percent(metrics.false_positive_bound),
            _percent(metrics.unsure),
            _number(metrics.calibration_error),
            _thresholds(manifest.thresholds[task]),
        )
    table.add_section()
    table.add_row('mean', '', '', *_summary(held_out.values(), worst=False))
    table.add_row('worst', '', '', *_summary(held_out.values(), worst=True))
    console = Console()
    console.print(table)
    rule = manifest.rule
    console.print(
        'n+, n-: successes and failures. In %: bal.: balanced accuracy, prec.: precision, rec.: recall, all without '
        'unsure verdicts (uns.); FPR: false positives, <: upper end of their 95 % interval. ECE: expected calibration '
        'error. cuts: failure below the first, success from the second, chosen on validation episodes for '
        f'{rule.false_positive_rate:.1%} false positives and at most {rule.unsure:.0%} unsure verdicts.',
        highlight=False,
    )
    if not all(threshold.chosen for threshold in manifest.thresholds.values()):
        rate = rule.false_positive_rate
        console.print(
            f'*: fewer than {min(1 / rate, MANY):.0f} validation failures cannot hold false positives to {rate:.1%}'
        )
    untaught = [task for task in manifest.tasks if task not in manifest.thresholds]
    if untaught:
        console.print(f'Without a success or a failure to learn from, always unsure: {", ".join(untaught)}')


def _summary(metrics: Collection[TaskMetrics], worst: bool) -> list[str]:
    """Return one row over all tasks, from the area under the curve on: the means, or each column's worst."""
    row = []
    for name, (worst_of, text) in _FIGURES.items():
        known = [value for one in metrics if (value := getattr(one, name)) is not None]
        row.append(text(worst_of(known) if worst else sum(known) / len(known)) if known else '-')
    return row


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{100 * share:.1f}'


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'.removeprefix('0')


def _thresholds(threshold: Threshold) -> str:
    failure, success = (f'{value:.2f}'.removeprefix('0') for value in (threshold.failure, threshold.value))
    return f'{failure} {success}{"" if threshold.chosen else "*"}'


_FIGURES: Mapping[str, tuple[Callable[[Collection[float]], float], Callable[[float], str]]] = {
    'auc': (min, _number),
    'balanced_accuracy': (min, _percent),
    'precision': (min, _percent),
    'recall': (min, _percent),
    'false_positive_rate': (max, _percent),
    'false_positive_bound': (max, _percent),
    'unsure': (max, _percent),
    'calibration_error': (max, _number),
}

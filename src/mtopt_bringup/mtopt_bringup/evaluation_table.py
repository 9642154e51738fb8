"""An evaluation as a table on a terminal."""

from __future__ import annotations

from rich.table import Table

from mtopt_bringup.evaluation import Evaluation, TaskResult, leaders, rows_of, verdict
from mtopt_core.statistics import paired_test
from mtopt_core.tasks import TaskSet


def table_of(evaluation: Evaluation, tasks: TaskSet) -> Table:
    """Return the evaluation for a terminal: two policies are compared in words, of more the leaders are bold."""
    title = f'success by the truth, 95 % Wilson interval; seed {evaluation.seed}'
    number = len(evaluation.policies)
    if number > 2:
        title += '; bold: the best and those not told apart from it'
    table = Table('task', title=title, caption=evaluation.diverged or None)
    for policy in evaluation.policies:
        table.add_column(policy, justify='right')
    if number == 2:
        table.add_column('by the intervals')
        table.add_column('paired p', justify='right')
    for row in rows_of(evaluation, tasks):
        cells = [percent_with_interval(result) for result in row]
        if number == 2:
            test = paired_test(row[0].successes, row[1].successes)
            cells += [verdict(*row), f'{test.p_value:.2g}']
        elif number > 2:
            best = leaders(row)
            cells = [f'[bold]{cell}[/]' if one in best else cell for one, cell in zip(row, cells, strict=True)]
        table.add_row(row[0].task, *cells)
    return table


def percent_with_interval(result: TaskResult) -> str:
    """Return a success rate as people write it."""
    low, high = result.interval
    return f'{100 * result.rate:.0f} % [{100 * low:.0f}, {100 * high:.0f}]'

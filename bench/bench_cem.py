"""How long does one decision of the paper's network take: 472 px image, CEM with 2 x 64 actions?

Three ways to compute the same decision, one after the other in every round so that all see the same load: the policy
node's own (OpenVINO), eager torch, and torch with bfloat16 autocast where the machine computes in that. Beside them the
time that the machine's best matrix product would need for the same arithmetic: no convolution can be expected to beat
it.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import typer
from measuring import alternate, load, timed
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from mtopt_core.configuration import StepConfiguration
from mtopt_core.precision import Precision
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.inference import Backend, OpenVinoBackend, TorchBackend
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

# The paper's layers, counted one by one: tower 4.22 G, and 0.173 G for each of 128 actions.
PAPER_MACS = 26.3e9
MATRIX_SIZES = (1024, 2048, 3072)
LIMIT = 'best matrix product'


class Decision:
    """One decision on one image.

    Args:
        backend: How the network is computed.
        configuration: The network.
    """

    def __init__(self, backend: Backend, configuration: QNetworkConfiguration) -> None:
        generator = torch.Generator().manual_seed(0)
        views, size = len(configuration.views), configuration.image_size
        self._backend = backend
        self._images = torch.rand(1, views, 3, size, size, generator=generator)
        self._state = torch.tensor([[0.0, 0.1, 0.08]])
        self._task = torch.eye(configuration.tasks)[:1]
        self._cem = CrossEntropyMethod(ActionSpace.full(StepConfiguration()))
        self._masks = torch.ones(1, 4, dtype=torch.bool)

    def __call__(self) -> None:
        """Decide."""
        features = self._backend.tower(self._images)
        self._cem.maximise(lambda a: self._backend.head(features, a, self._state, self._task), self._masks)


def matrix_rate(dtype: torch.dtype) -> float:
    """Return the best rate of square matrix products, multiply-adds per second."""
    rates = []
    for size in MATRIX_SIZES:
        left, right = torch.randn(2, size, size).to(dtype)
        out = left @ right
        for _ in range(5):
            rates.append(size**3 / timed(partial(torch.matmul, left, right, out=out)))
    return max(rates)


def autocast(decision: Decision) -> Callable[[], None]:
    """Return a decision computed in bfloat16 by torch."""

    def decide() -> None:
        with torch.autocast('cpu', torch.bfloat16):
            decision()

    return decide


def macs(decision: Decision) -> float:
    """Return the multiply-adds of a decision."""
    with FlopCounterMode(display=False) as counter:
        decision()
    return counter.get_total_flops() / 2


def bench(
    rounds: Annotated[int, typer.Option(help='Decisions of each kind.')] = 20,
    threads: Annotated[int, typer.Option(help='CPU threads.')] = os.cpu_count() or 1,
) -> None:
    """Time one CEM decision of the paper's network at 472 px."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    console = Console()
    configuration = QNetworkConfiguration.paper(len(load_tasks()))
    network = QNetwork(configuration).eval()
    ours = OpenVinoBackend(network, CrossEntropyMethod(ActionSpace.full(StepConfiguration())).samples, threads)
    eager = Decision(TorchBackend(network, torch.device('cpu')), configuration)
    contenders: dict[str, Callable[[], object]] = {
        f'mtopt (OpenVINO, {ours.precision})': Decision(ours, configuration),
        'eager torch, float32': eager,
    }
    formats = ['float32']
    # Emulated, it would take minutes.
    if Precision.of_this_machine().bfloat16:
        contenders['eager torch, bfloat16 autocast'] = autocast(eager)
        formats.append('bfloat16')
    times = alternate(contenders, rounds, 'deciding')
    rates = {name: matrix_rate(getattr(torch, name)) for name in formats}

    medians = {name: statistics.median(measured) * 1e3 for name, measured in times.items()}
    medians |= {f'{LIMIT}, {name}': PAPER_MACS / rate * 1e3 for name, rate in rates.items()}
    reference = next(iter(medians.values()))
    table = Table(title=f"one decision of the paper's network, 472 px, 2 x 64 actions, {threads} threads")
    for heading in ('', 'median ms', 'times ours'):
        table.add_column(heading, justify='right' if heading else 'left')
    for name, median in medians.items():
        table.add_row(name, f'{median:.1f}', f'{median / reference:.2f}')
    console.print(table)
    console.print(
        f'Arithmetic: {PAPER_MACS / 1e9:.1f} G multiply-adds as the paper has it; {macs(eager) / 1e9:.1f} G are '
        'computed, because the convolution after the fusion is done once per image. Matrix products: '
        + ', '.join(f'{rate / 1e9:.0f} G/s in {name}' for name, rate in rates.items())
        + '.'
    )
    print(load())


if __name__ == '__main__':
    typer.run(bench)

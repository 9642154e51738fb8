"""How long does a re-balanced batch of 256 transitions take, beside TorchRL's memory-mapped replay buffer?

The same transitions lie in both: two 64 px views, action, state. Ours draws tasks and outcomes by their shares, then
episodes, then transitions; TorchRL's draws uniformly, the least it can do. Both gather them into new arrays. TorchRL
is no part of mtopt: `pip install -r requirements/bench.txt -c requirements/base.txt`. It is to be slower.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from bags import fill
from learning import LearnerOnBags
from measuring import alternate, load, rates_table
from rich.console import Console
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, ReplayBuffer

from mtopt_core.environment import prepare

BATCH = 256
CHUNK = 1000


def torchrl_buffer(bags: LearnerOnBags, folder: Path) -> ReplayBuffer:
    """Return a replay buffer of the store's transitions, images as the network's loader has them."""
    rows = bags.store.rows
    buffer = ReplayBuffer(storage=LazyMemmapStorage(rows, scratch_dir=folder), batch_size=BATCH)
    for start in range(0, rows, CHUNK):
        chunk = np.arange(start, min(start + CHUNK, rows))
        records = bags.store.records(chunk)
        fields = {
            'images': torch.from_numpy(bags.store.images(chunk).swapaxes(0, 1).copy()),
            'action': torch.from_numpy(records['action'].copy()),
            'state': torch.from_numpy(records['state'].copy()),
            'remaining': torch.from_numpy(records['remaining'].copy()),
        }
        buffer.extend(TensorDict(fields, [len(chunk)]))
    return buffer


def main(
    data: Annotated[Path | None, typer.Option(help='Data folder to copy bags of; simulated without one.')] = None,
    episodes: Annotated[int, typer.Option(min=100, help='Bags to sample from.')] = 400,
    batches: Annotated[int, typer.Option(min=1, help='Batches of a round.')] = 20,
    rounds: Annotated[int, typer.Option(min=1, help='Rounds of both.')] = 15,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads for torch.')] = 1,
) -> None:
    """Print the figures."""
    prepare()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        bags = LearnerOnBags(fill(Path(folder, 'data'), data, episodes, 64), Path(folder, 'training'))
        buffer = torchrl_buffer(bags, Path(folder, 'torchrl'))
        rng = np.random.default_rng(0)

        def ours() -> None:
            for _ in range(batches):
                rows, _ = bags.draw(BATCH, rng)
                bags.store.images(rows)
                bags.store.records(rows)

        def theirs() -> None:
            for _ in range(batches):
                buffer.sample()

        contenders = {'episode store, re-balanced': ours, 'TorchRL, LazyMemmapStorage, uniform': theirs}
        seconds = alternate(contenders, rounds, 'sampling')
        bags.learner.close()
    console = Console()
    size = 2 * 3 * 64**2 * BATCH / 1e6
    title = f'batches of {BATCH} ({size:.1f} MB of images) out of {bags.store.rows} transitions'
    console.print(rates_table(title, 'batches/s', batches, seconds))
    print(f'wanted: a ratio above 1. {load()}')


if __name__ == '__main__':
    typer.run(main)

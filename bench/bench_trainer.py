"""Does the data path starve the trainer? Its steps per second beside those on random tensors that lie in memory.

Both do the same arithmetic: Bellman targets of a batch every few steps, then a gradient step and the target networks'.
The learner draws re-balanced transitions from its episode store for that, loads and shifts their images and keeps the
labels in its train buffer; the other repeats a few batches made of noise. At least 85 % is wanted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from bags import fill
from learning import PRESET, LearnerOnBags
from measuring import alternate, load, rates_table
from rich.console import Console

from mtopt_core.environment import prepare
from mtopt_core.precision import Precision
from mtopt_policy.action_space import DIMENSIONS, STATE
from mtopt_policy.learner.batches import Batch, Examples, States, UnlabelledTransitions, filled
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.trainer import Trainer
from mtopt_policy.q_network import QNetwork

WANTED = 0.85
PRELOADED = 4
"""Batches of noise; more than the caches hold."""


class OnNoise:
    """The learner's network, optimiser and Bellman updater on batches that lie in memory.

    Args:
        bags: The learner it stands beside: batches and share of terminal transitions are like its own.
    """

    def __init__(self, bags: LearnerOnBags) -> None:
        configuration, targets = bags.configuration, bags.configuration.targets
        precision = Precision.of_this_machine()
        network = QNetwork(bags.learner.targets.averaged.configuration).to(precision.device)
        networks = TargetNetworks(network, targets.averaging, targets.lag)
        self._trainer = Trainer(network, networks, configuration.optimizer, configuration.augmentation, precision)
        self._updater = bags.bellman_updater(networks)
        self._generator = torch.Generator(precision.device).manual_seed(0)
        self._uses = targets.uses
        rng = np.random.default_rng(0)
        self._batches = [self._noise(bags, rng) for _ in range(PRELOADED)]

    def step(self) -> None:
        """Label a batch if it is time to, then make one gradient step."""
        number = self._trainer.step
        unlabelled, batch = self._batches[number % PRELOADED]
        if number % self._uses == 0:
            self._updater.label(unlabelled, self._generator)
        self._trainer.train(batch, self._generator)

    def _noise(self, bags: LearnerOnBags, rng: np.random.Generator) -> tuple[UnlabelledTransitions, Batch]:
        size = bags.configuration.batch
        rows, outcomes = bags.draw(size, rng)
        remaining, n_step = bags.store.records(rows)['remaining'], bags.configuration.targets.n_step
        going_on = len(filled(np.flatnonzero(remaining >= n_step)))
        examples = Examples.among(outcomes)
        number = len(examples.of)
        batch = Batch(
            states=_states(bags, size, rng),
            actions=torch.from_numpy(rng.random((size, DIMENSIONS), np.float32)),
            examples=examples,
            successes=rng.random(number) < 0.5,
            targets=rng.random(number, np.float32),
            weights=np.full(number, 1 / number, np.float32),
            rows=rows,
        )
        next_actions = torch.from_numpy(rng.random((going_on, DIMENSIONS), np.float32))
        next_states = _states(bags, going_on, rng)
        return UnlabelledTransitions(rows, outcomes, remaining, n_step, next_states, next_actions), batch


def _states(bags: LearnerOnBags, number: int, rng: np.random.Generator) -> States:
    """Return states of noise in the memory order the loader gives them."""
    layout = bags.store.layout
    images = rng.integers(0, 256, (len(layout.views), number, layout.image_size, layout.image_size, 3), np.uint8)
    closed, lengths = rng.integers(0, 2, (number, 1)), rng.random((number, len(STATE) - 1))
    return States(
        torch.from_numpy(images).permute(1, 0, 4, 2, 3),
        torch.tensor(np.hstack([closed, lengths]), dtype=torch.float32),
    )


def main(
    data: Annotated[Path | None, typer.Option(help='Data folder to copy bags of; simulated without one.')] = None,
    episodes: Annotated[int, typer.Option(min=100, help='Bags to learn from.')] = 400,
    steps: Annotated[int, typer.Option(min=4, help='Gradient steps of a round.')] = 20,
    rounds: Annotated[int, typer.Option(min=1, help='Rounds of both.')] = 5,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads for torch.')] = 1,
) -> None:
    """Print the figures."""
    prepare()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        bags = LearnerOnBags(fill(Path(folder, 'data'), data, episodes, 64), Path(folder, 'training'))
        noise = OnNoise(bags)

        def repeat(step: Callable[[], object]) -> None:
            for _ in range(steps):
                step()

        contenders = {
            'the learner, from its episode store': partial(repeat, bags.learner.step),
            'the same network on noise in memory': partial(repeat, noise.step),
        }
        seconds = alternate(contenders, rounds, 'training')
        bags.learner.close()
    console = Console()
    title = f'preset {PRESET}, batch {bags.configuration.batch}, {threads} thread(s), {rounds} rounds of {steps} steps'
    console.print(rates_table(title, 'steps/s', steps, seconds))
    print(f'wanted: a ratio of at least {WANTED}. {load()}')


if __name__ == '__main__':
    typer.run(main)

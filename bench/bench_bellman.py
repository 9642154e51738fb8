"""How many Bellman targets per second, beside an updater that runs the image tower for every sample of CEM?

Both label the same transitions with the same networks and the same random numbers. Ours looks at an image once and
scores all samples of all iterations on its feature map. At least five times as fast is wanted.
"""

from __future__ import annotations

import tempfile
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
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.q_network import QNetwork

WANTED = 5


class NaiveQNetwork(QNetwork):
    """A Q-network that looks at the image anew for every action."""

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images as they are."""
        return images

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Score N actions beside each image, shapes as of `QNetwork.head`; the features are the images."""
        samples = actions.shape[1]
        # Copied in the memory order of the loader's images, in which they convolve fastest.
        images = features.permute(1, 0, 3, 4, 2).repeat_interleave(samples, 1).permute(1, 0, 4, 2, 3)
        states, tasks = state.repeat_interleave(samples, 0), task.repeat_interleave(samples, 0)
        scores = super().head(super().tower(images), actions.flatten(0, 1)[:, None], states, tasks)
        return scores.reshape(-1, samples)


def main(
    data: Annotated[Path | None, typer.Option(help='Data folder to copy bags of; simulated without one.')] = None,
    episodes: Annotated[int, typer.Option(min=100, help='Bags to take transitions of.')] = 200,
    batch: Annotated[int, typer.Option(min=1, help='Transitions of a round.')] = 48,
    rounds: Annotated[int, typer.Option(min=1, help='Rounds of both.')] = 5,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads for torch.')] = 1,
) -> None:
    """Print the figures."""
    prepare()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        bags = LearnerOnBags(fill(Path(folder, 'data'), data, episodes, 64), Path(folder, 'training'))
        bags.learner.close()
        unlabelled = bags.loader.unlabelled(*bags.draw(batch, np.random.default_rng(0)))
    device = Precision.of_this_machine().device
    network = bags.learner.targets.averaged
    naive = NaiveQNetwork(network.configuration)
    naive.load_state_dict(network.state_dict())
    naive.to(device)
    updaters = {
        'image tower once per image': bags.bellman_updater(bags.learner.targets),
        'image tower for every sample': bags.bellman_updater(TargetNetworks(naive, rate=0, lag=1)),
    }
    labelled = {}

    def label(name: str) -> None:
        labelled[name] = updaters[name].label(unlabelled, torch.Generator(device).manual_seed(0)).targets

    seconds = alternate({name: partial(label, name) for name in updaters}, rounds, 'labelling')
    preset = bags.configuration.targets
    apart = float(np.nanmax(np.abs(np.subtract(*labelled.values()))))
    console = Console()
    searched = int(unlabelled.going_on.sum())
    title = f'preset {PRESET}: CEM of {preset.cem_iterations} x {preset.cem_samples} samples, {threads} thread(s)'
    console.print(rates_table(title, 'targets/s', batch, seconds))
    print(f'{searched} of {batch} transitions need a search; the targets differ by at most {apart:.3f}')
    print(f'wanted: a ratio of at least {WANTED}. {load()}')


if __name__ == '__main__':
    typer.run(main)

"""How many control steps per second does the whole ROS graph make in lock-step with the learned policy?

Every node is a process of its own, as `mtopt run` starts them: a step goes from camera images through ingestion, policy
(CEM), arm controller and simulator to the next images, while the recorder writes all of it. At least 15 are wanted of
MuJoCo at 128 px, and of Gazebo at 472 px 1.2 times real time, which is two steps per second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from measuring import load

from mtopt_core.cadence import read_cadence, summarise
from mtopt_core.checkpoint import new_version, save_checkpoint
from mtopt_core.configuration import load_cell
from mtopt_core.environment import prepare
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration

STEP = 0.5  # s of simulated time


def untrained_policy(folder: Path) -> Path:
    """Save the small network as it is before training, with the paper's action space: CEM decides every step."""
    tasks = load_tasks()
    torch.manual_seed(0)
    configuration = QNetworkConfiguration.small(len(tasks))
    manifest = PolicyManifest(
        version=new_version(0),
        tasks=tasks.names,
        skills=tuple(task.skill for task in tasks.tasks),
        network=configuration,
        action_space=ActionSpace.full(load_cell().step),
    )
    return save_checkpoint(folder, QNetwork(configuration).state_dict(), manifest)


def main(
    episodes: Annotated[int, typer.Option(min=2, help='To run through the graph.')] = 30,
    sim: Annotated[str, typer.Option(help='mujoco or gazebo.')] = 'mujoco',
    image_size: Annotated[int, typer.Option(min=16, help='Side of the images, px.')] = 128,
) -> None:
    """Run the graph and print what it made."""
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        data = DataFolder(Path(folder, 'data'))
        models = Path(folder, 'models')
        policy = untrained_policy(models / 'policy')
        options = ['--policy', 'learned', '--models', str(models), '--grade-with', 'simulator', '--sim', sim]
        options += ['--image-size', str(image_size)]
        command = [sys.executable, '-m', 'mtopt_core.cli', 'run', '--data', str(data.root), '--episodes', str(episodes)]
        subprocess.run([*command, *options, '--seed', '0'], check=True)
        # The first episode warms the nodes up.
        (cadence,) = summarise(read_cadence(data)[1:])
    times = 1e3 * np.array(cadence.step_times)
    print(f'policy: small network, not trained ({policy.name}); every step is decided by CEM')
    print(f'{sim}, four cameras of {image_size} px: {cadence.steps_per_second:.1f} control steps per second')
    print(f'{cadence.steps_per_second * STEP:.2f} x real time')
    print(
        f'step: median {np.median(times):.1f} ms, slowest episode {times.max():.1f} ms; of it the decision: '
        f'median {1e3 * cadence.decision_time:.1f} ms'
    )
    print(f'{cadence.steps} steps in {cadence.episodes} episodes, {cadence.messages} messages, {cadence.dropped} lost')
    print(load())


if __name__ == '__main__':
    typer.run(main)

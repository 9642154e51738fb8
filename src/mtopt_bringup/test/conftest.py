"""Policies to evaluate."""

import pytest
import torch

from mtopt_core.checkpoint import save_checkpoint
from mtopt_core.configuration import load_cell
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration


def untrained_policy(folder, version, seed):
    """Save a network as it is before training: it acts by CEM like any other, differently for each seed."""
    tasks = load_tasks()
    torch.manual_seed(seed)
    configuration = QNetworkConfiguration.small(len(tasks))
    manifest = PolicyManifest(
        version=version,
        tasks=tasks.names,
        skills=tuple(task.skill for task in tasks.tasks),
        network=configuration,
        action_space=ActionSpace.eased(load_cell().step),
    )
    return save_checkpoint(folder, QNetwork(configuration).state_dict(), manifest)


@pytest.fixture(scope='session')
def checkpoints(tmp_path_factory):
    """Two untrained policies of versions v0 and v1 by name."""
    folder = tmp_path_factory.mktemp('policies')
    return {name: untrained_policy(folder / name, f'v{seed}', seed) for seed, name in enumerate(('one', 'two'))}

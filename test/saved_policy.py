"""A checkpoint of a policy for tests."""

from pathlib import Path

import torch

from mtopt_core.checkpoint import save_checkpoint
from mtopt_core.configuration import load_cell
from mtopt_core.tasks import TaskSet, load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.manifest import PolicyManifest
from mtopt_policy.q_network import QNetwork, QNetworkConfiguration


def save_policy(folder: Path, version: str, tasks: TaskSet | None = None, seed: int = 0) -> Path:
    """Save a network as it is before training: it acts by CEM like any other, differently for each seed."""
    tasks = tasks or load_tasks()
    torch.manual_seed(seed)
    manifest = PolicyManifest(
        version=version,
        tasks=tasks.names,
        skills=tuple(task.skill for task in tasks.tasks),
        network=QNetworkConfiguration.small(len(tasks)),
        action_space=ActionSpace.eased(load_cell().step),
    )
    return save_checkpoint(folder, QNetwork(manifest.network).state_dict(), manifest)

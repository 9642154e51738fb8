"""What a policy's checkpoint says about itself, beside what every checkpoint does."""

from __future__ import annotations

from typing import Literal

from mtopt_core.checkpoint import Manifest
from mtopt_core.errors import CheckpointError
from mtopt_core.tasks import TaskSet
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.q_network import QNetworkConfiguration


class PolicyManifest(Manifest):
    """Manifest of a Q-function.

    Attributes:
        network: Which network the weights are of, and the views and size of the images it sees.
        action_space: What its actions mean.
    """

    kind: Literal['policy'] = 'policy'
    network: QNetworkConfiguration
    action_space: ActionSpace

    def require_fit(self, tasks: TaskSet) -> None:
        """Check that the one-hot means the same here and there.

        Raises:
            CheckpointError: Tasks or skills differ; the message lists both.
        """
        theirs = dict(zip(self.tasks, self.skills, strict=False))
        ours = {task.name: task.skill for task in tasks.tasks}
        if list(theirs.items()) != list(ours.items()):
            raise CheckpointError(
                f'policy {self.version} was trained for tasks {_listed(theirs)}, '
                f'but this cell has {_listed(ours)}; use the task file it was trained with, or train again'
            )


def _listed(tasks: dict[str, str]) -> str:
    return ', '.join(f'{name} ({skill})' for name, skill in tasks.items())

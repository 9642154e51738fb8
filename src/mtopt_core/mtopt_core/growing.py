"""Growing a network to more tasks (paper section VII-F: from 12 tasks to 14): Q-function and success detector alike."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def grown(weights: Mapping[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Return weights for a network that knows more tasks than the one they are of, and is otherwise the same.

    What the network says of the old tasks is what it was. What a one-hot or a task's vector is multiplied with gets
    columns of zeros: a new task starts from what all tasks have in common. With a head per task a new one keeps the
    weights it was made with.

    Args:
        weights: State of the network with the fewer tasks.
        network: The one with more, as it was made.

    Raises:
        RuntimeError: The weights are of a network that differs in more than the number of tasks.
    """
    result = dict(weights)
    for name, fresh in network.state_dict().items():
        old = weights.get(name)
        if old is None or old.shape == fresh.shape:
            continue
        differing = [axis for axis, (few, many) in enumerate(zip(old.shape, fresh.shape, strict=False)) if few != many]
        if old.ndim != fresh.ndim or len(differing) != 1 or old.shape[differing[0]] > fresh.shape[differing[0]]:
            raise RuntimeError(f'{name} is {tuple(old.shape)}, which cannot grow to {tuple(fresh.shape)}')
        (axis,) = differing
        new = fresh.narrow(axis, old.shape[axis], fresh.shape[axis] - old.shape[axis])
        result[name] = torch.cat([old, new if axis == 0 else torch.zeros_like(new)], axis)
    return result

"""Policies to evaluate."""

import pytest
from saved_policy import save_policy


@pytest.fixture(scope='session')
def checkpoints(tmp_path_factory):
    """Two untrained policies of versions v0 and v1 by name."""
    folder = tmp_path_factory.mktemp('policies')
    return {name: save_policy(folder / name, f'v{seed}', seed=seed) for seed, name in enumerate(('one', 'two'))}

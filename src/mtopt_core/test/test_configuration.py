"""A cell file that cannot be is refused by file and field."""

import pytest

from mtopt_core.configuration import load_cell
from mtopt_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ('text', 'named'),
    [
        ('limits: {workspace_min: [0.3, -0.4, 0.5], workspace_max: [0.7, 0.4, 0.2]}', 'workspace_min has z 0.5'),
        ('limits: {workspace_min: [0.8, -0.4, 0.0]}', 'workspace_min has x 0.8 and workspace_max 0.72'),
        ('limits: {workspace_max: [0.7, 0.4, .inf]}', 'limits.workspace_max.2'),
        ('limits: {workspace_min: [.nan, -0.4, 0.0]}', 'limits.workspace_min.0'),
        ('limits: {joint_speed: .nan}', 'limits.joint_speed'),
        ('limits: {move_speed: .inf}', 'limits.move_speed'),
        ('step: {duration: 60}', 'step.duration'),
        ('step: {duration: .nan}', 'step.duration'),
        ('step: {max_displacement: .inf}', 'step.max_displacement'),
    ],
)
def test_limits_that_cannot_be_or_hold_nothing_back_are_refused(tmp_path, text, named):
    path = tmp_path / 'cell.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load_cell(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)

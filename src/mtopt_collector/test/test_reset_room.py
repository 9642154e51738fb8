from __future__ import annotations

import pytest

from mtopt_collector.reset_room import check_room
from mtopt_core.configuration import LimitConfiguration, load_cell
from mtopt_core.errors import ConfigurationError

REGIONS = ('right_bin', 'left_bin')
FIRST_RUN = LimitConfiguration(workspace_min=(0.30, -0.42, 0.08))


def test_the_shipped_cell_has_room_for_everything():
    check_room(load_cell().limits, REGIONS, tidies=True)


def test_a_workspace_below_the_travel_height_is_refused_and_told_what_it_must_be():
    low = LimitConfiguration(workspace_max=(0.72, 0.42, 0.20))
    with pytest.raises(ConfigurationError, match=r'limits\.workspace_max .*; at least \[0\.6, 0\.27, 0\.22\] m'):
        check_room(low, REGIONS, tidies=False)


def test_a_workspace_that_leaves_out_a_start_pose_is_refused():
    narrow = LimitConfiguration(workspace_min=(0.30, -0.20, 0.005))
    with pytest.raises(ConfigurationError, match=r'limits\.workspace_min .*; at most \[0\.4, -0\.27, 0\.1\] m'):
        check_room(narrow, REGIONS, tidies=False)


def test_the_first_runs_workspace_is_fine_unless_the_robot_is_to_stir():
    check_room(FIRST_RUN, REGIONS, tidies=False)
    with pytest.raises(ConfigurationError, match='new_scenes person'):
        check_room(FIRST_RUN, REGIONS, tidies=True)


def test_a_start_region_that_is_no_bin_is_named():
    with pytest.raises(ConfigurationError, match=r"'top_shelf' .* known: left_bin, right_bin"):
        check_room(load_cell().limits, ('top_shelf',), tidies=False)

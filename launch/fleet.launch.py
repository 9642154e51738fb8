"""A fleet: cell.launch.py with several robots, one detector and one policy node for all of them, and a trainer.

Nothing is graded before there is a detector: `mkdir -p data/models && cp -r models/success_detector data/models/` first
for the simulated cell, or grade_with:=simulator.

ros2 launch launch/fleet.launch.py robots:=3 data:=data
ros2 launch launch/fleet.launch.py simulator:=none cells:='config/cells/*.yaml'
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription

CELL = Path(__file__).with_name('cell.launch.py')
FLEET = {'simulator': 'mujoco', 'robots': '2', 'shared': 'true', 'trainer': 'true', 'policy': 'curriculum'}


def generate_launch_description() -> LaunchDescription:
    # Declared before cell.launch.py declares them with other defaults.
    arguments = [DeclareLaunchArgument(name, default_value=value) for name, value in FLEET.items()]
    return LaunchDescription([*arguments, IncludeLaunchDescription(str(CELL))])

"""The simulated cell: cell.launch.py with MuJoCo in the robot's place, collecting as fast as the machine can.

ros2 launch launch/sim.launch.py data:=data episodes:=100 grade_with:=simulator
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription

CELL = Path(__file__).with_name('cell.launch.py')


def generate_launch_description() -> LaunchDescription:
    cell = IncludeLaunchDescription(str(CELL), launch_arguments={'simulator': 'mujoco'}.items())
    return LaunchDescription([cell])

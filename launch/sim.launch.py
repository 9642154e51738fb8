"""The simulated cell: cell.launch.py with a simulator in the robot's place, collecting as fast as the machine can.

ros2 launch launch/sim.launch.py data:=data episodes:=100 grade_with:=simulator
ros2 launch launch/sim.launch.py sim:=gazebo
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration

CELL = Path(__file__).with_name('cell.launch.py')


def generate_launch_description() -> LaunchDescription:
    chosen = DeclareLaunchArgument('sim', default_value='mujoco', choices=['mujoco', 'gazebo'], description='simulator')
    arguments = {'simulator': LaunchConfiguration('sim')}
    return LaunchDescription([chosen, IncludeLaunchDescription(str(CELL), launch_arguments=arguments.items())])

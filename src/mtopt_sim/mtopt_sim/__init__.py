"""The simulated 7-DoF cell: without ROS (`cell.Cell`) and as a ROS 2 node."""

import os

# Read by MuJoCo when it is imported: render without a display.
os.environ.setdefault('MUJOCO_GL', 'egl')

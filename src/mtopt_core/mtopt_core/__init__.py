"""What every part of mtopt shares and none of it needs ROS: tasks, episodes, bags, labels, kinematics."""

import sys

# OpenVINO reports every model it converts to its makers, from a forked process, unless this module cannot be imported.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

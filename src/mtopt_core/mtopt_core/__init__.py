"""What every part of mtopt shares and none of it needs ROS: tasks, episodes, bags, labels, kinematics."""

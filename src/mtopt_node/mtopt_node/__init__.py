"""The one lifecycle node base of mtopt, and the conversions between ROS messages and the core types."""

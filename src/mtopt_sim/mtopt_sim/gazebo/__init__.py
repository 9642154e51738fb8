"""Gazebo 11 without ROS: its server in a network of its own, its two protocols, and a plant for the simulated cell."""

"""The cell, described once: the table yields the URDF, every simulator's model and the kinematics."""

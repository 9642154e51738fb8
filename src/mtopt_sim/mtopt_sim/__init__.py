"""The simulated 7-DoF cell of mtopt."""

"""The graph of mtopt, its launcher, simulate, evaluate and the demo."""

"""The learned multi-task success detector of mtopt."""

"""Q-function, CEM, scripted policies, the learner and the policy and trainer nodes of mtopt."""

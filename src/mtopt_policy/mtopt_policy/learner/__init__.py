"""The learner (paper Fig. 11): one small file for each of its parts."""

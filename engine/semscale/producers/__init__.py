"""Where images come from when there are none yet: producers write a folder that the scorer reads."""

"""How a run computes the metrics it is asked for, from its stores: sets against a reference, groups, images, pairs."""

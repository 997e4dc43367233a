"""The loop that supervises the nodes of a run, and its decisions."""
